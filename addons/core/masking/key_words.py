"""What the name of a field tells about its value: the key families.

A key is split into words at case changes, `_`, `-`, `.` and spaces, and lower-cased; a family matches on the last words,
because those name the thing (`db_password`) and what follows them changes it (`passwordPolicy`, `secretName`). So
`nextPageToken`, `tokenType`, `max_tokens`, `secretRef` and `keyId` are no secrets.

The family says which info type a value under this key has, whatever it looks like; a few families still ask the value
for a minimum of sense (a phone has digits), so that a schema or a label under such a key is left alone.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_a-zA-Z]+")
MAX_KEY = 256  # characters of a key that are looked at; longer ones are no field names


@dataclass(frozen=True, slots=True)
class Family:
    """An info type that a key promises."""

    info_type: str
    needs_person: bool = False  # only beside other fields about a person


def _phrases(text: str) -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(phrase.split()) for phrase in text.split(","))


SECRET = _phrases(
    "password,passwords,passwd,passphrase,pwd,passcode,pass phrase,pass word,secret,token,jwt,bearer,api key,apikey,api keys,access key,accesskey,"
    "private key,privatekey,client secret,credential,credentials,authorization,proxy authorization,cookie,set cookie,session id,sessionid,"
    "session cookie,connection string,connectionstring,conn string,dsn,secret key,secretkey,secret key base,signing key,encryption key,master key,"
    "shared key,account key,storage key,service key,auth key,deploy key,hmac key,webhook secret,otp,totp,recovery code,recovery codes,"
    "backup codes,authtoken,accesstoken,refreshtoken,idtoken,auth code,secret string,secret value,db pass,database pass,user pass,admin pass,root pass,"
    "smtp pass,mysql pass,redis pass,pg pass,postgres pass,mail pass,login pass,password hash,htpasswd,secret access key,dockerconfigjson,"
    "access token secret,api secret,apisecret,app secret,appsecret,client key data,token data"
)
NOT_SECRET_BEFORE = frozenset(
    [
        "next",
        "page",
        "continue",
        "continuation",
        "cursor",
        "sync",
        "delta",
        "skip",
        "pagination",
        "previous",
        "prev",
        "max",
        "min",
        "prompt",
        "completion",
        "total",
        "input",
        "output",
        "public",
        "design",
        "css",
        "num",
        "number",
        "count",
        "per",
        "stop",
        "start",
        "eos",
        "bos",
        "pad",
        "cancellation",
        "progress",  # MCP and LSP: whose progress it is
    ]
)
PHONE = _phrases(
    "phone,telephone,mobile,cell,cellphone,fax,msisdn,tel,phone number,phone no,phone numbers,phones,mobile number,telephone number,"
    "cell number,contact number,fax number,phonenumber,mobilephone,whatsapp"
)
EMAIL = _phrases("email,emails,e mail,mail,email address,e mail address,mail address,email addresses,emailaddress")
CARD = _phrases(
    "card number,cardnumber,card no,pan,credit card,creditcard,credit card number,cc number,ccnumber,ccnum,debit card,debit card number,primary account number"
)
IBAN = _phrases("iban,iban number,bank account number,account iban,bank account,account number,accountnumber")
SSN = _phrases(
    "ssn,ssns,social security,social security number,social security no,national id,national identifier,national id number,"
    "national insurance number,nino,tax id,tin,itin,taxpayer id"
)
BIRTH = _phrases("dob,birth date,birthdate,birthday,date of birth,dateofbirth,birth day,born on")
STREET = _phrases(
    "street,street address,streetaddress,street name,address line,address 1,address 2,addressline,addr line,street 1,street 2"
)
ADDRESS = _phrases(
    "address,home address,postal address,mailing address,billing address,shipping address,delivery address,residential address"
)
NOT_ADDRESS = frozenset(
    [
        "ip",
        "mac",
        "email",
        "mail",
        "e",
        "wallet",
        "bind",
        "listen",
        "server",
        "host",
        "url",
        "web",
        "memory",
        "node",
        "remote",
        "peer",
        "source",
        "destination",
        "gateway",
        "contract",
    ]
)
PERSON = _phrases(
    "first name,last name,given name,family name,middle name,full name,display name,maiden name,legal name,preferred name,firstname,lastname,"
    "givenname,familyname,middlename,fullname,displayname,surname,holder,cardholder,card holder,account holder,holder name,recipient,"
    "recipient name,patient,patient name,customer name,contact name,cardholder name,employee name,passenger name,guest name,"
    "beneficiary,beneficiary name,billing name,shipping name,person name,forename,student name,applicant name,signatory"
)
PERSON_BESIDE = _phrases("name,nickname,nick name")
_SUFFIXES = frozenset(
    [
        "value",
        "values",
        "text",
        "plain",
        "plaintext",
        "encoded",
        "base64",
        "b64",
        "str",
        "string",
        "current",
        "old",
        "new",
        "previous",
        "confirm",
        "confirmation",
        "again",
    ]
)


AMBIGUOUS = _phrases("full name,fullname,display name,displayname,email verified")  # things have these too


@lru_cache(maxsize=16384)
def words(key: str) -> tuple[str, ...]:
    """The words of a key, lower-cased."""
    return tuple(word.lower() for word in _WORD.findall(key[:MAX_KEY]))


def _ends(parts: tuple[str, ...], phrases: frozenset[tuple[str, ...]]) -> int:
    """How many words of the longest phrase that ends here; 0 when none does."""
    return next((size for size in (4, 3, 2, 1) if size <= len(parts) and parts[-size:] in phrases), 0)


def _is_secret(parts: tuple[str, ...]) -> bool:
    size = _ends(parts, SECRET)
    if not size:
        return False
    before = parts[: len(parts) - size]
    return not (before and before[-1] in NOT_SECRET_BEFORE)


def _is_address(parts: tuple[str, ...]) -> bool:
    size = _ends(parts, ADDRESS)
    return bool(size) and not (len(parts) > size and parts[-size - 1] in NOT_ADDRESS)


_RULES: tuple[tuple[Callable[[tuple[str, ...]], bool], Family], ...] = (
    (_is_secret, Family("SECRET")),
    (lambda parts: bool(_ends(parts, EMAIL)), Family("EMAIL_ADDRESS")),
    (lambda parts: bool(_ends(parts, CARD)), Family("CREDIT_CARD")),
    (lambda parts: bool(_ends(parts, SSN)), Family("US_SSN")),
    (lambda parts: bool(_ends(parts, IBAN)), Family("IBAN_CODE")),
    (lambda parts: bool(_ends(parts, PHONE)), Family("PHONE_NUMBER")),
    (lambda parts: bool(_ends(parts, BIRTH)), Family("DATE_OF_BIRTH")),
    (lambda parts: bool(_ends(parts, STREET)) or _is_address(parts), Family("STREET_ADDRESS")),
    (lambda parts: bool(_ends(parts, PERSON)), Family("PERSON")),
    (lambda parts: parts in PERSON_BESIDE, Family("PERSON", needs_person=True)),
)


@lru_cache(maxsize=16384)
def family(key: str) -> Family | None:
    """The family of a key, None when the key tells nothing."""
    parts = words(key)
    while len(parts) > 1 and (parts[-1] in _SUFFIXES or parts[-1].isdigit()):
        if found := _family(parts):
            return found
        parts = parts[:-1]
    return _family(parts)


def _family(parts: tuple[str, ...]) -> Family | None:
    return next((found for test, found in _RULES if test(parts)), None) if parts else None


PERSON_TYPES = frozenset({"EMAIL_ADDRESS", "PHONE_NUMBER", "US_SSN", "DATE_OF_BIRTH", "STREET_ADDRESS", "PERSON"})


def tells_of_person(key: str) -> bool:
    """Whether a field of this name stands beside a person's `name`."""
    found = family(key)
    return found is not None and not found.needs_person and found.info_type in PERSON_TYPES and words(key) not in AMBIGUOUS


_NO_NAME = re.compile(r"[/@_{}<>=:]|://|[0-9]{3}")
_IP_LIKE = re.compile(r"[0-9a-fA-F:.]+(?:/\d{1,3})?")


def believable(info_type: str, key: str, value: str) -> bool:
    """Whether the value can be what its key promises. SECRET and national ids: always, whatever it holds."""
    text = value.strip()
    if not text:
        return False
    digits = sum(char.isdigit() for char in text)
    if info_type == "EMAIL_ADDRESS":
        return "@" in text and " " not in text
    if info_type == "CREDIT_CARD":
        return digits >= 12
    if info_type == "PHONE_NUMBER":
        return digits >= 6
    if info_type == "IBAN_CODE":
        return digits >= 6
    if info_type in ("US_SSN", "DATE_OF_BIRTH"):
        return digits >= 4
    if info_type == "STREET_ADDRESS":
        bare = not _ends(words(key), STREET)
        return not (bare and (" " not in text or _IP_LIKE.fullmatch(text)))
    if info_type == "PERSON":
        return any(char.isalpha() for char in text) and not _NO_NAME.search(text)
    return True
