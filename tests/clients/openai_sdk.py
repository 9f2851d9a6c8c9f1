"""OpenAI's own client, unchanged: chat, streams, tools, schemas, errors, retries. The model behind does as it is told."""
import json
import os
import sys

import openai
from openai import OpenAI
from pydantic import BaseModel

client = OpenAI(base_url=sys.argv[1], api_key=os.environ["KAI_API_KEY"])


def ask(content, **more):
    messages = [{"role": "user", "content": content}]
    return client.chat.completions.create(**{"model": "kai-fast", "messages": messages, **more})


# The call of the documentation.
resp = ask("hi", max_tokens=20)
assert resp.choices[0].message.content == "Hello there, trader", resp
assert resp.choices[0].finish_reason == "stop" and resp.model == "kai-fast" and resp.id.startswith("chatcmpl-")
assert (resp.usage.prompt_tokens, resp.usage.completion_tokens, resp.usage.total_tokens) == (11, 5, 16), resp.usage
assert resp._request_id, "the client finds no x-request-id"
raw = client.chat.completions.with_raw_response.create(model="kai-fast", messages=[{"role": "user", "content": "hi"}])
assert raw.headers["x-kai-cost-micros"] == "31", raw.headers  # 11 + 2 * 5 + 10

# Streams.
chunks = list(ask("hi", stream=True, stream_options={"include_usage": True}))
assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Hello there, trader"
assert chunks[-1].usage.total_tokens == 16 and not chunks[-1].choices and chunks[0].usage is None
with client.chat.completions.stream(model="kai-fast", messages=[{"role": "user", "content": "hi"}]) as stream:
    for _ in stream:
        pass
    assert stream.get_final_completion().choices[0].message.content == "Hello there, trader"

# Tools, there and back, and as a stream.
parameters = {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]}
tools = [{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}]
message = ask("weather?", model="model", tools=tools, tool_choice="required").choices[0].message
call = message.tool_calls[0]
assert call.function.name == "get_weather" and json.loads(call.function.arguments) == {"location": "San Francisco"}
back = [{"role": "user", "content": "weather?"}, message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
again = client.chat.completions.create(model="model", messages=back, tools=tools)
assert again.choices[0].message.content == "Hello there, trader" and again.choices[0].message.tool_calls is None
with client.chat.completions.stream(model="model", messages=[{"role": "user", "content": "w"}], tools=tools) as stream:
    for _ in stream:
        pass
    choice = stream.get_final_completion().choices[0]
    assert choice.finish_reason == "tool_calls" and choice.message.tool_calls[0].function.name == "get_weather"


# A schema.
class Decision(BaseModel):
    side: str
    confidence: int


parsed = client.chat.completions.parse(
    model="model", messages=[{"role": "user", "content": "decide"}], response_format=Decision
)
assert parsed.choices[0].message.parsed == Decision(side="buy", confidence=95)
assert json.loads(ask("x", model="model", response_format={"type": "json_object"}).choices[0].message.content)["ok"]

# Models.
models = {model.id: model for model in client.models.list()}
assert {"kai-fast", "kai-smart", "model", "plain"} <= set(models) and models["kai-fast"].object == "model"
assert client.models.retrieve("kai-smart").owned_by == "up"

# Errors are those of the client's own classes.
def fails(kind, code, param, call):
    try:
        call()
    except kind as error:
        assert (error.code, error.param) == (code, param), (error.code, error.param)
        return error
    raise AssertionError(f"no {kind}")


fails(openai.NotFoundError, "model_not_found", "model", lambda: ask("x", model="gpt-9"))
fails(openai.BadRequestError, "decimal_above_max_value", "temperature", lambda: ask("x", temperature=9))
fails(openai.BadRequestError, "context_length_exceeded", None, lambda: ask("long"))
fails(openai.BadRequestError, "unsupported_by_model", "model", lambda: ask("x", model="plain", tools=tools))
nobody = OpenAI(base_url=sys.argv[1], api_key="kai-000000000000000000000000000000000000")
fails(openai.AuthenticationError, "invalid_api_key", None, lambda: nobody.models.list())
try:
    list(ask("cut", stream=True))
    raise AssertionError("half an answer was taken for a whole one")
except openai.APIError as error:
    assert error.code == "provider_error", error

# The client asks again where that may help: the gateway's own two attempts fail, the client's next call is answered.
assert ask("flaky", model="plain").choices[0].message.content == "Hello there, trader"
limited = client.with_options(max_retries=0)
try:
    limited.chat.completions.create(model="plain", messages=[{"role": "user", "content": "rate"}])
    raise AssertionError("no limit")
except openai.RateLimitError as error:
    assert error.code == "rate_limit_exceeded", error
print(f"openai for Python: all as with OpenAI ({openai.__version__})")
