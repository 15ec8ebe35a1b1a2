"""A streamed chat answer with the official OpenAI client. GOGRID_URL: where `gogrid serve` listens."""
import os

from openai import OpenAI

client = OpenAI(base_url=os.environ.get("GOGRID_URL", "http://127.0.0.1:8080") + "/v1", api_key="none-needed")
stream = client.chat.completions.create(
    model="smollm2-135m",
    messages=[{"role": "user", "content": "Tell me a short story about a lighthouse."}],
    max_tokens=60,
    stream=True,
)
for chunk in stream:
    if chunk.choices and chunk.choices[0].delta.content:
        print(chunk.choices[0].delta.content, end="", flush=True)
print()
