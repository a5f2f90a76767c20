"""Read what a caller sent into a model, strictly: one JSON object or one form, no duplicate, no unknown name.

`json.loads` takes duplicate names and lets the last one win; a form parser does the same. Two readers could then see
two decisions in one request, so both are refused here, before pydantic checks names and types.
"""

from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request

from addons.core.web.problems import Invalid
from addons.core.wire.strict_json import StrictJsonError, load_object

MAX_FORM_FIELDS = 16  # our largest form has five


class Strict(BaseModel):
    """A request body: unknown names and other types are errors, never guesses."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


async def read_json[Model: BaseModel](request: Request, model: type[Model]) -> Model:
    """Return the body as the model. Raises Invalid naming the members that are wrong, never their values."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Invalid("Send the body as application/json.")
    try:
        return model.model_validate(load_object(await request.body()))
    except StrictJsonError as error:
        raise Invalid(f"The body is not one unambiguous JSON object: {error}.") from error
    except ValidationError as error:
        raise Invalid("The body is not valid.", extra={"errors": faults(error)}) from error


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of one of our own forms, each at most once."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise Invalid("Send the form as application/x-www-form-urlencoded.")
    try:
        text = (await request.body()).decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), errors="strict", max_num_fields=MAX_FORM_FIELDS)
    except ValueError as error:
        raise Invalid("The form cannot be read.") from error
    if len({name for name, _ in pairs}) != len(pairs):
        raise Invalid("A field came twice.")
    return dict(pairs)


def faults(error: ValidationError) -> list[dict[str, str]]:
    """What is wrong where, without what was sent."""
    found = error.errors(include_input=False, include_context=False, include_url=False)
    return [{"pointer": "/" + "/".join(str(part) for part in fault["loc"]), "problem": fault["msg"]} for fault in found]
