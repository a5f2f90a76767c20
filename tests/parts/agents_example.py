"""The example of policies/README.md, "Agents and LLMs", as text: what it says is what the tests run."""

import re
from pathlib import Path

README = Path(__file__).parents[2] / "policies" / "README.md"
PORTS = (8450, 8451, 8460, 8461)  # tools and models: where the gateway listens, where the upstreams do


def block(title: str) -> str:
    """The block of YAML that begins with this comment, without it."""
    chapter = README.read_text().split("\n## Agents and LLMs\n")[1]
    return chapter.split(f"```yaml\n# {title}\n")[1].split("```")[0]


def added_to(name: str, text: str, ports: dict[int, int] | None = None) -> str:
    """A shipped policy file with the example's part of it, moved to these ports."""
    if name == "gateway.yaml":
        listeners, services = block("gateway.yaml").removeprefix("listeners:\n").split("services:\n")
        text = text.replace("\nextra_scripts:", f"\n{listeners}extra_scripts:", 1).replace("\naudit:\n", f"\n{services}\naudit:\n", 1)
    if name == "masking.yaml":
        text = re.sub(r"\nservices:.*\n", lambda found: found[0] + block("masking.yaml").removeprefix("services:\n"), text, count=1)
    if name == "rules.yaml":
        text = text.replace("\nrules:\n", "\n" + block("rules.yaml"), 1)
    return re.sub(r"\b84[56][01]\b", lambda found: str((ports or {}).get(int(found.group()), found.group())), text)


def cases() -> str:
    """The written cases of the example."""
    return block("tests/agents.yaml, for `guardhouse policy test`")
