import re

import pytest

from mefusion.report.document import Document, Section, Table
from mefusion.report.latex import to_latex

TEXT_WIDTH, EM, DIGIT = 345, {"footnotesize": 8.5, "scriptsize": 8.0}, {"footnotesize": 4.25, "scriptsize": 4.0}
"""Points in the class article: its text, an em and a digit of its two sizes."""

SCORES = ["clips", "UF1", "sd", "UF1 95 %", "UAR", "ACC", "WF1", "majority UF1"]
NUMBERS = ["577", "0.684", "0.043", "0.619 to 0.724", "0.698", "0.697", "0.701", "0.214"]
ERRORS = [
    "flow EPE px",
    "EPE / zero flow",
    "landmark NME %",
    "landmarks failed %",
    "PSNR of flat grey",
    "rank accuracy",
]
STUDY, TASKS = "mol-casme2-five-1a2b3c4d", "recognition, flow x10, landmarks, dynamic_image, rank x0.1"


def latex(*tables):
    return to_latex(Document("report", [Section("Results", list(tables))]))


def parse(text):
    """Each table: size of its type, gap, caption, kinds of its columns, and rows of cells."""
    pattern = (
        r"\\begin\{table\}\n\\centering\n\\(\w+) \\setlength\{\\tabcolsep\}\{(\d)pt\}\n\\caption\{(.*)\}\n\\smallskip\n"
        r"\\begin\{tabular\}\{(.*)\}\n\\toprule\n(.*)\n\\midrule\n((?:.*\n)*?)\\bottomrule\n\\end\{tabular\}\n\\end\{table\}"
    )
    for size, gap, caption, kinds, titles, rows in re.findall(pattern, text):
        cells = [re.split(r"(?<!\\) & ", row.removesuffix(r" \\")) for row in (titles, *rows.splitlines())]
        yield size, int(gap), caption, re.findall(r"l|r|p\{.*?\}", kinds), cells


def lines_of(cell):
    stacked = re.fullmatch(r"\\shortstack\[[lr]\]\{\\rule\{0pt\}\{2ex\}(.*)\}", cell)
    return stacked[1].split(r" \\ ") if stacked else [cell]


def width(size, gap, kinds, rows):
    total = 0.0
    for place, kind in enumerate(kinds):
        letters = max(len(line.replace("\\", "").replace("$", "")) for row in rows for line in lines_of(row[place]))
        total += EM[size] * float(kind[2:-3]) if kind[0] == "p" else DIGIT[size] * letters
        total += 2 * gap
    return total


@pytest.mark.parametrize(
    "table",
    [
        Table("t", ["study", *SCORES], [[STUDY, *NUMBERS]]),
        Table("t", ["study", "model", "tasks", *SCORES], [[STUDY, "mol", TASKS, *NUMBERS]], texts=3),
        Table("t", ["study", "tasks", *ERRORS * 2], [[STUDY, TASKS, *["0.204"] * 12]], texts=2),
        Table("t", ["score", *(f"seed {n}" for n in range(30))], [["mean_of_folds_uf1", *["0.745"] * 30]]),
        Table("t", ["subject", "UF1"], [["x" * 200, "0.5"]]),
    ],
    ids=["study", "tasks", "errors", "seeds", "name"],
)
def test_no_table_is_wider_than_the_text_and_no_cell_is_lost(table):
    parts = [*parse(latex(table))]
    for size, gap, _, kinds, rows in parts:
        assert width(size, gap, kinds, rows) <= TEXT_WIDTH
        assert {len(row) for row in rows} == {len(kinds)}
    assert [caption for _, _, caption, _, _ in parts] == ["t"] + ["t (continued)"] * (len(parts) - 1)
    numbers = [cell for part in parts for cell in part[4][1][table.texts :]]
    assert numbers == list(table.rows[0][table.texts :])
    for part in parts:  # the words of a row are in each
        words = [re.sub(r"\\allowbreak\{\}|\\raggedright |\\(?=_)", "", cell) for cell in part[4][1][: table.texts]]
        assert words == list(table.rows[0][: table.texts])


def test_table_that_fits_is_left_as_it_is():
    ((size, _, _, kinds, rows),) = parse(latex(Table("t", ["study", *SCORES[:3]], [["mol-all", *NUMBERS[:3]]])))
    assert (size, kinds) == ("footnotesize", ["l", "r", "r", "r"])
    assert rows == [["study", *SCORES[:3]], ["mol-all", *NUMBERS[:3]]]


def test_rows_that_a_page_does_not_hold_are_continued():
    table = Table("Subjects", ["subject", "ACC"], [[f"s{n}", "0.5"] for n in range(100)], study="mol_1")
    parts = [*parse(latex(table))]
    assert [part[2] for part in parts] == [r"Subjects of mol\_1"] + [r"Subjects of mol\_1 (continued)"] * 2
    assert [row[0] for part in parts for row in part[4][1:]] == [f"s{n}" for n in range(100)]
    assert max(len(part[4]) for part in parts) <= 45


def test_signs_are_shown_as_they_are():
    names = [r"a_b%c&d#e$f", r"~^\{}", '<|>"', "[1]", "*x"]
    text = latex(Table("100 % of a_b", ["name", "95 %"], [[name, "-0.333 to +0.135"] for name in names]))
    ((_, _, caption, _, rows),) = parse(text)
    assert caption == r"100 \% of a\_b"
    assert [row[0] for row in rows[1:]] == [
        r"a\_b\%c\&d\#e\$f",
        r"\textasciitilde{}\textasciicircum{}\textbackslash{}\{\}",
        r"$<$\textbar{}$>${''}",
        "{[}1]",  # after the end of a row [ and * would be read as its arguments
        "{*}x",
    ]
    assert rows[1][1] == "$-$0.333 to +0.135"


def test_latex_need_not_hold_more_floats_than_it_can():
    text = latex(*[Table("Classes", ["class", "F1"], [["negative", "0.5"]], study=f"mol-{n}") for n in range(100)])
    groups = text.split("\\clearpage\n")
    assert sum(group.count(r"\begin{table}") for group in groups) == 100
    assert max(group.count(r"\begin{table}") for group in groups) <= 18  # of the oldest LaTeX
