"""schemathesis on our own OpenAPI document, against a service process with a key."""
