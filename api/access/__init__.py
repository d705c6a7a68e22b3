"""Who may call what: API keys, tokens, scopes, the binding to one customer, and rate limits (decision 51)."""
