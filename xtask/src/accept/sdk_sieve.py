"""A plugin of pytest: takes from the requests of the clients `openai` and `anthropic` the parameters
that the server at $SERVER says it refuses."""

import json
import os
import urllib.request

import anthropic._base_client
import openai._base_client

with urllib.request.urlopen(os.environ["SERVER"] + "/v1/capabilities") as answer:
    ENDPOINTS = json.load(answer)["endpoints"]
REFUSED = {
    endpoint["path"]: [
        row["name"] for row in endpoint["parameters"] if row["treatment"] == "refused"
    ]
    for endpoint in ENDPOINTS
}


def sieve(client):
    build = client._build_request

    def sieved(self, options, *more, **named):
        path = options.url.split("?")[0]
        path = path if path.startswith("/v1") else "/v1" + path
        if isinstance(options.json_data, dict):
            for name in REFUSED.get(path, []):
                options.json_data.pop(name, None)
        return build(self, options, *more, **named)

    client._build_request = sieved


sieve(openai._base_client.BaseClient)
sieve(anthropic._base_client.BaseClient)
