import re

from mefusion.report.document import Document, Section, Table
from mefusion.report.latex import ROWS, to_latex


def latex(*tables):
    return to_latex(Document("report", {}, [Section("Results", list(tables))]))


def parse(text):
    """Each table: its caption, the kinds of its columns, and its rows of cells, the first of which are the titles."""
    pattern = (
        r"\\begin\{table\}\n\\centering\n\\footnotesize\n\\caption\{(.*)\}\n\\resizebox\{.*\}\{!\}\{%\n"
        r"\\begin\{tabular\}\{(.*)\}\n\\toprule\n(.*)\n\\midrule\n((?:.*\n)*?)\\bottomrule\n\\end\{tabular\}\}\n"
        r"\\end\{table\}"
    )
    for caption, kinds, titles, rows in re.findall(pattern, text):
        cells = [re.split(r"(?<!\\) & ", row.removesuffix(r" \\")) for row in (titles, *rows.splitlines())]
        yield caption, re.findall(r"l|r|p\{.*?\}", kinds), cells


def test_numbers_are_to_the_right_below_stacked_titles():
    table = Table("Scores", ["study", "majority UF1", "UF1 95 %"], [["mol", "0.684", "-0.333 to +0.135"]])
    ((caption, kinds, rows),) = parse(latex(table))
    assert (caption, kinds) == ("Scores", ["l", "r", "r"])
    stacked = [r"majority \\ UF1", r"UF1 95 \%"]
    assert rows[0] == ["study", *(rf"\shortstack[r]{{\rule{{0pt}}{{2ex}}{lines}}}" for lines in stacked)]
    assert rows[1] == ["mol", "0.684", "$-$0.333 to +0.135"]


def test_long_names_may_be_broken_after_signs_and_lose_nothing():
    name, tasks = "mol_tiny-synthetic-three-1a2b3c4d", "recognition, flow x10, rank x0.1"
    ((_, kinds, rows),) = parse(latex(Table("t", ["study", "tasks", "UF1"], [[name, tasks, "0.5"]], text_columns=2)))
    assert kinds == ["p{11em}", "p{11em}", "r"]
    pieces = rows[1][0].removeprefix(r"\raggedright ").split(r"\allowbreak{}")
    assert pieces == [r"mol\_", "tiny-", "synthetic-", "three-", "1a2b3c4d"]
    assert rows[1][1].removeprefix(r"\raggedright ").replace(r"\allowbreak{}", "") == tasks


def test_rows_that_a_page_does_not_hold_are_continued():
    table = Table("Subjects", ["subject", "ACC"], [[f"s{n}", "0.5"] for n in range(100)], study="mol_1")
    parts = [*parse(latex(table))]
    assert [part[0] for part in parts] == [r"Subjects of mol\_1"] + [r"Subjects of mol\_1 (continued)"] * 2
    assert [row[0] for part in parts for row in part[2][1:]] == [f"s{n}" for n in range(100)]
    assert max(len(part[2]) for part in parts) == ROWS + 1


def test_signs_are_shown_as_they_are():
    names = [r"a_b%c&d#e$f", r"~^\{}", '<|>"', "[1]", "*x"]
    ((caption, _, rows),) = parse(latex(Table("100 % of a_b", ["name", "UF1"], [[name, "0.5"] for name in names])))
    assert caption == r"100 \% of a\_b"
    assert [row[0] for row in rows[1:]] == [
        r"a\_b\%c\&d\#e\$f",
        r"\textasciitilde{}\textasciicircum{}\textbackslash{}\{\}",
        r"$<$\textbar{}$>${''}",
        "{[}1]",  # after the end of a row [ and * would be read as its arguments
        "{*}x",
    ]
