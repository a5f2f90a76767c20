"""What is kept of a flow so that mitmproxy can show and replay it: the skeleton."""
