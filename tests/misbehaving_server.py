"""A server of chat completions that misbehaves as asked, in a process of its own.

The address names what it does: `http://127.0.0.1:PORT/429x2/v1` answers the first two requests with 429, all others
well. It checks that pictures are JPEG and sound is WAV, as a server does. `GET /NAME/seen` tells what came.
"""

import asyncio
import base64
import io
import json
import re
import subprocess
import sys
import urllib.request
import wave
from collections import defaultdict
from contextlib import contextmanager

import cv2
import numpy as np
from aiohttp import web

GOOD = {
    "visual": "A smile.", "audio": "A bright voice.", "text": "Praise.", "rationale": "Face and voice agree.",
    "emotions": [{"label": "joy", "intensity": 60}, {"label": "surprise", "intensity": 20}],
    "usable": True, "reject_reason": "",
}  # fmt: skip
LEAKS = "sk-secret-of-the-user"


def completion(text, **choice):
    message = {"role": "assistant", "content": text} | choice.pop("message", {})
    return {
        "id": "1", "object": "chat.completion", "created": 0, "model": "returned", "system_fingerprint": "fp",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"} | choice],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
    }  # fmt: skip


def text_of(name):
    """What the model says, by the name of the fault."""
    emotions = GOOD["emotions"]
    return {
        "malformed": "I would say: joy!",
        "cutoff": json.dumps(GOOD)[:80],
        "label": json.dumps(GOOD | {"emotions": [*emotions, {"label": "hunger", "intensity": 3}]}),
        "range": json.dumps(GOOD | {"emotions": [{"label": "joy", "intensity": 101}]}),
        "fenced": f"Here it is:\n```json\n{json.dumps(GOOD, indent=1)}\n```",
        "unusable": json.dumps(GOOD | {"emotions": [], "usable": False, "reject_reason": "no face"}),
        "leak": json.dumps(GOOD | {"rationale": LEAKS}),
        "hostile": json.dumps(GOOD | {"rationale": "<script>alert(1)</script><img src=x onerror=alert(2)>"}),
    }.get(name, json.dumps(GOOD))


def error(status, message, headers=None, **more):
    return web.json_response({"error": {"message": message, **more}}, status=status, headers=headers)


async def misbehave(name, request):
    """The answer of a fault."""
    if name.isdigit():
        wait = {"retry-after": request.match_info.get("wait") or "0.2"} if name == "429" else {}
        return error(int(name), f"sentence of {name}, key {request.headers.get('authorization', '')}", wait)
    if name == "later":
        return error(429, "tomorrow", {"retry-after": "86400"})
    if name == "quota":
        return error(429, "no money", code="insufficient_quota")
    if name == "filtered":
        return error(400, "filtered", code="content_filter")
    if name == "html":
        return web.Response(text="<html><body>Sign in</body></html>", content_type="text/html")
    if name == "slow":
        await asyncio.sleep(3)
    if name == "nochoices":
        return web.json_response(completion("") | {"choices": []})
    if name == "reset":
        request.transport.abort()
    if name == "half":
        response = web.StreamResponse(headers={"content-length": "5000", "content-type": "application/json"})
        await response.prepare(request)
        await response.write(b'{"id": "1", "choices": [')
        request.transport.close()
        return response
    if name == "notjson":
        return web.Response(text='{"id": "1", "choi', content_type="application/json")
    if name == "refusal":
        return web.json_response(completion(None, message={"refusal": "I cannot judge people."}))
    if name == "filter":
        return web.json_response(completion("", finish_reason="content_filter"))
    if name == "length":
        return web.json_response(completion(text_of("cutoff"), finish_reason="length"))
    if name == "nousage":
        return web.json_response(completion(text_of("")) | {"usage": None})
    return web.json_response(completion(text_of(name)))


def problem(body):
    """What is wrong with a request; empty if nothing is."""
    for part in body["messages"][1]["content"]:
        if part["type"] == "image_url":
            data = base64.b64decode(part["image_url"]["url"].removeprefix("data:image/jpeg;base64,"), validate=True)
            if data[:3] != b"\xff\xd8\xff" or cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is None:
                return "no JPEG"
        if part["type"] == "input_audio":
            data = base64.b64decode(part["input_audio"]["data"], validate=True)
            with wave.open(io.BytesIO(data)) as file:
                if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (16000, 1, 2):
                    return "no WAV of 16 kHz"
    return ""


class Server:
    def __init__(self):
        self.seen, self.flying, self.most = defaultdict(list), defaultdict(int), defaultdict(int)

    async def answer(self, request):
        """`FAULT` for ever, `FAULTxN` for the first N requests, `pace` slowly; anything else well."""
        name = request.match_info["name"]
        body = await request.json()
        self.seen[name].append({"body": body, "time": asyncio.get_running_loop().time()})
        if wrong := problem(body):
            return error(400, wrong)
        fault, times = re.fullmatch(r"([a-z0-9]+?)(?:x(\d+))?(?:-.*)?", name).groups()
        self.flying[name] += 1
        self.most[name] = max(self.most[name], self.flying[name])
        try:
            if fault == "pace":
                await asyncio.sleep(0.1)
            if times is None or len(self.seen[name]) <= int(times):
                return await misbehave(fault, request)
            return web.json_response(completion(text_of("")))
        finally:
            self.flying[name] -= 1

    async def tell(self, request):
        name = request.match_info["name"]
        return web.json_response({"requests": self.seen[name], "most": self.most[name]})


@contextmanager
def serving():
    """Start the server; gives its address, to which `/NAME/v1` is added."""
    process = subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def seen(address, name):
    """What came for a name: its requests, and the most at once."""
    with urllib.request.urlopen(f"{address}/{name}/seen") as answer:
        return json.load(answer)


async def main():
    server, app = Server(), web.Application(client_max_size=2**26)
    app.add_routes([web.post("/{name}/v1/chat/completions", server.answer), web.get("/{name}/seen", server.tell)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
