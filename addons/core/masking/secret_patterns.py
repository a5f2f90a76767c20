"""The formats of credentials: one row per format, every one linear on hostile text.

A row has literals, one of which must be in the text before its expression is tried, and an expression with a bounded
alphabet and a bounded length between boundaries: no nested quantifier, no lazy group, no unbounded run in the middle.
A test feeds every row 20 KB of its own literal and alphabet and demands linear time.

On top of the table stand rules for what has no format: `key = value` under a secret word, `scheme://user:password@`,
and `Bearer` or `Basic`. A password without form in a plain sentence is not found; a telling key or pair finds it.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from addons.core.masking import key_words

_L = r"(?<![A-Za-z0-9_])"  # left boundary
_R = r"(?![A-Za-z0-9_])"  # right boundary


@dataclass(frozen=True, slots=True)
class SecretFormat:
    """One format. `literals` are compared lower-case when the expression ignores case."""

    name: str
    literals: tuple[str, ...]
    expression: re.Pattern[str]
    check: Callable[[str], bool] | None = None


def _row(
    name: str, literals: str, body: str, check: Callable[[str], bool] | None = None, *, left: str = _L, right: str = _R
) -> SecretFormat:
    return SecretFormat(name, tuple(literals.split()), re.compile(left + body + right), check)


def _has_digit_and_letter(text: str) -> bool:
    return any(char.isdigit() for char in text) and any(char.isalpha() for char in text)


_B64U = r"[A-Za-z0-9_-]"

FORMATS: tuple[SecretFormat, ...] = (
    _row("pem", "-----BEGIN", r"-----BEGIN [A-Z0-9 ]{0,40}(?:PRIVATE KEY|PGP MESSAGE|PRIVATE KEY BLOCK)[A-Z0-9 ]{0,20}-----(?:[^-]|-(?!----)){0,32768}(?:-----END [A-Z0-9 ]{0,60}-----)?", left="", right=""),
    _row("jwt", "eyJ", r"eyJ[A-Za-z0-9_-]{5,8192}\.[A-Za-z0-9_-]{2,16384}(?:\.[A-Za-z0-9_-]{0,8192}){0,3}", left=r"(?<![A-Za-z0-9_-])"),
    _row("aws-access-key", "AKIA ASIA ABIA ACCA AIDA AROA", r"(?:AKIA|ASIA|ABIA|ACCA|AIDA|AROA)[A-Z2-7]{16}"),
    _row("aws-bedrock", "ABSK", r"ABSK[A-Za-z0-9+/]{64,300}={0,2}"),
    _row("github-classic", "ghp_", r"ghp_[A-Za-z0-9]{36,255}"),
    _row("github-oauth", "gho_", r"gho_[A-Za-z0-9]{36,255}"),
    _row("github-user", "ghu_", r"ghu_[A-Za-z0-9]{36,255}"),
    _row("github-server", "ghs_", r"ghs_[A-Za-z0-9]{36,255}"),
    _row("github-refresh", "ghr_", r"ghr_[A-Za-z0-9]{36,255}"),
    _row("github-fine-grained", "github_pat_", r"github_pat_[A-Za-z0-9_]{22,255}"),
    _row("gitlab-personal", "glpat-", r"glpat-[A-Za-z0-9_-]{20,128}"),
    _row("gitlab-other", "glptt- gldt- glrt- glcbt- glsoat- glft- glimt- glagent- gloas-", r"gl(?:ptt|dt|rt|cbt|soat|ft|imt|agent|oas)-[A-Za-z0-9_-]{20,128}"),
    _row("gitlab-runner", "GR1348941", r"GR1348941[A-Za-z0-9_-]{20,64}"),
    _row("slack-token", "xoxb- xoxa- xoxp- xoxr- xoxs- xoxe- xoxo- xoxc- xoxd-", r"xox[abcdeoprs]-[A-Za-z0-9%./+-]{10,512}"),
    _row("slack-app", "xapp-", r"xapp-[0-9]-[A-Za-z0-9-]{20,256}"),
    _row("slack-webhook", "hooks.slack.com", r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/_-]{20,200}"),
    _row("discord-webhook", "/api/webhooks/", r"discord(?:app)?\.com/api/webhooks/[0-9]{15,22}/[A-Za-z0-9_-]{50,100}"),
    _row("discord-bot", "M N O", r"[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6,7}\.[A-Za-z0-9_-]{27,45}"),
    _row("stripe", "sk_live_ sk_test_ rk_live_ rk_test_", r"[sr]k_(?:live|test)_[A-Za-z0-9]{10,247}"),
    _row("stripe-webhook", "whsec_", r"whsec_[A-Za-z0-9+/]{24,128}={0,2}"),
    _row("square", "sq0atp- sq0csp- EAAA", r"(?:sq0(?:atp|csp)-[A-Za-z0-9_-]{22,60}|EAAA[A-Za-z0-9_-]{56,64})"),
    _row("paypal-braintree", "access_token$", r"access_token\$(?:production|sandbox)\$[0-9a-z]{16}\$[0-9a-f]{32}"),
    _row("shopify", "shpat_ shpca_ shppa_ shpss_", r"shp(?:at|ca|pa|ss)_[A-Fa-f0-9]{32,64}"),
    _row("openai", "sk-", r"sk-(?:proj-|svcacct-|admin-|None-)?[A-Za-z0-9_-]{20,256}", _has_digit_and_letter),
    _row("anthropic", "sk-ant-", r"sk-ant-[A-Za-z0-9_-]{20,200}"),
    _row("openrouter", "sk-or-", r"sk-or-[A-Za-z0-9_-]{20,200}"),
    _row("huggingface", "hf_", r"hf_[A-Za-z0-9]{30,64}"),
    _row("huggingface-org", "api_org_", r"api_org_[A-Za-z0-9]{30,64}"),
    _row("replicate", "r8_", r"r8_[A-Za-z0-9]{30,64}"),
    _row("groq", "gsk_", r"gsk_[A-Za-z0-9]{40,64}"),
    _row("perplexity", "pplx-", r"pplx-[A-Za-z0-9]{40,64}"),
    _row("google-api", "AIza", r"AIza[A-Za-z0-9_-]{30,45}"),
    _row("google-oauth", "ya29.", r"ya29\.[A-Za-z0-9_-]{20,2048}"),
    _row("google-oauth-secret", "GOCSPX-", r"GOCSPX-[A-Za-z0-9_-]{20,64}"),
    _row("google-refresh", "1//0", r"1//0[A-Za-z0-9_-]{30,200}"),
    _row("firebase-fcm", "AAAA", r"AAAA[A-Za-z0-9_-]{7}:[A-Za-z0-9_-]{100,200}"),
    _row("azure-storage", "AccountKey=", r"AccountKey=[A-Za-z0-9+/]{40,100}={0,2}"),
    _row("azure-shared-access", "SharedAccessKey= SharedAccessSignature", r"SharedAccess(?:Key=[A-Za-z0-9+/]{40,60}={0,2}|Signature=?[^\s\"';]{20,400})"),
    _row("azure-sas", "sig=", r"sig=[A-Za-z0-9%+/]{40,120}={0,2}"),
    _row("azure-client-secret", "8Q~ 7Q~", r"[A-Za-z0-9_.~-]{3}[78]Q~[A-Za-z0-9_.~-]{31,34}"),
    _row("azure-devops", "AZDO", r"[A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4}"),
    _row("npm", "npm_", r"npm_[A-Za-z0-9]{36,64}"),
    _row("npm-legacy", "_authToken", r"_authToken=[A-Za-z0-9_-]{20,100}"),
    _row("pypi", "pypi-", r"pypi-[A-Za-z0-9_-]{40,512}"),
    _row("rubygems", "rubygems_", r"rubygems_[A-Fa-f0-9]{40,64}"),
    _row("nuget", "oy2", r"oy2[a-z0-9]{43}"),
    _row("crates", "cio", r"cio[A-Za-z0-9]{32}"),
    _row("clojars", "CLOJARS_", r"CLOJARS_[A-Za-z0-9]{50,64}"),
    _row("docker-hub", "dckr_pat_ dckr_oat_", r"dckr_[po]at_[A-Za-z0-9_-]{20,64}"),
    _row("sendgrid", "SG.", r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{30,64}"),
    _row("sendinblue", "xkeysib- xsmtpsib-", r"x(?:key|smtp)sib-[a-f0-9]{40,80}-[A-Za-z0-9]{10,20}"),
    _row("mailgun", "key-", r"key-[a-f0-9]{32}"),
    _row("mailchimp", "-us", r"[0-9a-f]{32}-us[0-9]{1,2}"),
    _row("mailersend", "mlsn.", r"mlsn\.[a-f0-9]{40,80}"),
    _row("twilio", "SK AC", r"(?:SK|AC)[0-9a-f]{32}"),
    _row("telegram", ":AA", r"[0-9]{8,10}:AA[A-Za-z0-9_-]{32,34}"),
    _row("vault", "hvs. hvb. hvr.", r"hv[sbr]\.[A-Za-z0-9_-]{20,300}"),
    _row("vault-legacy", "s.", r"s\.[A-Za-z0-9]{24}", _has_digit_and_letter),
    _row("terraform-cloud", ".atlasv1.", r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_-]{60,80}"),
    _row("digitalocean", "dop_v1_ doo_v1_ dor_v1_", r"do[opr]_v1_[a-f0-9]{64}"),
    _row("heroku", "HRKU-", r"HRKU-[A-Za-z0-9_-]{30,80}"),
    _row("fly", "FlyV1 fm1_ fm2_ fo1_", r"(?:FlyV1 )?f(?:m1r?|m2|o1)_[A-Za-z0-9+/_=,-]{30,1024}"),
    _row("netlify", "nfp_", r"nfp_[A-Za-z0-9]{36,64}"),
    _row("supabase", "sbp_ sb_secret_", r"(?:sbp_[a-f0-9]{40}|sb_secret_[A-Za-z0-9_-]{20,64})"),
    _row("planetscale", "pscale_", r"pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.-]{32,64}"),
    _row("databricks", "dapi", r"dapi[a-f0-9]{32}(?:-[0-9])?"),
    _row("grafana", "glc_ glsa_", r"gl(?:c_[A-Za-z0-9+/]{32,400}={0,2}|sa_[A-Za-z0-9]{32}_[A-Fa-f0-9]{8})"),
    _row("new-relic", "NRAK- NRJS- NRII- NRRA-", r"NR(?:AK|JS|II|RA)-[A-Za-z0-9_-]{19,48}"),
    _row("sentry", "sntrys_ sntryu_", r"sntry[su]_[A-Za-z0-9+/=_-]{40,400}"),
    _row("dynatrace", "dt0", r"dt0[a-z][0-9]{2}\.[A-Z0-9]{24}\.[A-Z0-9]{64}"),
    _row("pagerduty", "pdus+", r"pdus\+[A-Za-z0-9_+-]{20,64}", right=""),
    _row("postman", "PMAK-", r"PMAK-[a-f0-9]{24}-[a-f0-9]{34}"),
    _row("linear", "lin_api_ lin_oauth_", r"lin_(?:api|oauth)_[A-Za-z0-9]{32,64}"),
    _row("notion", "ntn_ secret_", r"(?:ntn_[A-Za-z0-9]{40,60}|secret_[A-Za-z0-9]{40,50})"),
    _row("figma", "figd_ figo_ figu_", r"fig[dou]_[A-Za-z0-9_-]{36,64}"),
    _row("airtable", "pat", r"pat[A-Za-z0-9]{14}\.[a-f0-9]{64}"),
    _row("atlassian", "ATATT3 ATCTT3", r"AT[AC]TT3[A-Za-z0-9_=-]{60,300}"),
    _row("asana", "1/", r"[12]/[0-9]{10,20}(?:/[0-9]{10,20})?:[a-f0-9]{32}"),
    _row("doppler", "dp.pt. dp.st. dp.sa.", r"dp\.(?:pt|st|sa|ct|scim|audit)\.[A-Za-z0-9._-]{30,80}"),
    _row("pulumi", "pul-", r"pul-[a-f0-9]{40}"),
    _row("age", "AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[A-Z0-9]{58}"),
    _row("tailscale", "tskey-", r"tskey-[a-z]{3,12}-[A-Za-z0-9]{8,32}-[A-Za-z0-9]{16,64}"),
    _row("1password", "ops_eyJ A3-", r"(?:ops_eyJ[A-Za-z0-9+/_=-]{100,2000}|A3-[A-Z0-9]{6}-[A-Z0-9]{6,11}(?:-[A-Z0-9]{5}){3,4})"),
    _row("facebook", "EAA", r"EAA(?:CEdEose0cBA|[A-Za-z0-9])[A-Za-z0-9]{40,300}", _has_digit_and_letter),
    _row("twitter-bearer", "AAAAAAAAAAAAAAAAAAAAA", r"A{21}[A-Za-z0-9%]{60,120}"),
    _row("dropbox", "sl.", r"sl\.(?:u\.)?[A-Za-z0-9_-]{100,300}"),
    _row("easypost", "EZAK EZTK", r"EZ[AT]K[A-Za-z0-9]{54}"),
    _row("flutterwave", "FLWSECK", r"FLWSECK(?:_TEST)?-[a-z0-9]{12,40}-?X?"),
    _row("razorpay", "rzp_live_ rzp_test_", r"rzp_(?:live|test)_[A-Za-z0-9]{14,24}"),
    _row("contentful", "CFPAT-", r"CFPAT-[A-Za-z0-9_-]{40,64}"),
    _row("kubernetes-bootstrap", ".", r"[a-z0-9]{6}\.[a-z0-9]{16}", _has_digit_and_letter, left=r"(?<![A-Za-z0-9_.-])", right=r"(?![A-Za-z0-9_.-])"),
    _row("bcrypt", "$2", r"\$2[abxy]?\$[0-9]{2}\$[./A-Za-z0-9]{53}", left=""),
    _row("crypt", "$6$ $5$ $1$ $y$ $argon2", r"\$(?:6|5|1|y|argon2id?|argon2i)\$[./A-Za-z0-9$=,+]{20,300}", left=""),
)  # fmt: skip

_KEY = re.compile(r"""(?<![A-Za-z0-9_.])(?<![A-Za-z0-9_.]-)([A-Za-z_][A-Za-z0-9_.\-]{0,127})["']?\]?[ \t]{0,3}(:=|=>|=|:)[ \t]{0,3}""")
_VALUE = re.compile(r"""(?:"([^"\n]{1,1024})"|'([^'\n]{1,1024})'|([^\s,;&"'<>{}\[\]()][^\s,;&"'<>]{0,1023}))""")
_LINE = re.compile(r"(?m)^[ \t]*(?:export[ \t]+|set[ \t]+)?([A-Za-z_][A-Za-z0-9_.\-]{0,127})[ \t]{0,8}(?:=|:)[ \t]{0,8}(\S[^\n]{0,1023})$")
_VARIABLE = re.compile(r"\$(?:\w+|\{[^{}]{0,200}\}|\([^()]{0,200}\))|%\([^()]{0,100}\)s?|%\w+%|\{\{.{0,200}\}\}|<[^<>]{0,100}>")
_FORM = re.compile(r"&[A-Za-z_][\w.\-\[\]]{0,63}=")  # the line is a form or a query string: `_VALUE` ends at the `&`
_OPTION = re.compile(r"(?<![A-Za-z0-9_-])--?([A-Za-z][A-Za-z0-9-]{1,40})[ \t]{1,3}([^\s\-\"'][^\s\"']{3,255})")
_LOGIN = re.compile(r"(?<![A-Za-z0-9-])(?:-u|--user)[ =]{0,2}[\"']?[^\s:\"']{1,128}:([^\s\"']{1,256})")  # curl -u name:password
_URL_LOGIN = re.compile(r"""(?<![a-z0-9+.\-])[A-Za-z][A-Za-z0-9+.\-]{1,20}://([^\s:/@?#"'<>]{0,128}):([^\s/"'<>]{1,256})@""")
_SCHEME = re.compile(r"(?i)(?<![a-z0-9])(?:bearer|basic|negotiate|apikey|token)[ ]{1,3}([A-Za-z0-9\-._~+/]{8,8192}={0,3})")
_PLAIN = frozenset({"null", "none", "true", "false", "undefined", "nil", "bearer", "basic", "required", "optional", "string", "redacted"})


_BY_LITERAL = tuple((literal, row) for row in FORMATS for literal in row.literals)
_LONG_WORD = re.compile(r"\S{18}")  # no format is shorter


def _candidates(text: str) -> list[SecretFormat]:
    """The rows whose literal is in the text."""
    if _LONG_WORD.search(text) is None and "-----BEGIN" not in text:
        return []
    found = [row for literal, row in _BY_LITERAL if literal in text]
    return list(dict.fromkeys(found)) if len(found) > 1 else found


@dataclass(frozen=True, slots=True)
class SecretHit:
    """A piece of text that is, or holds, a credential."""

    start: int
    end: int
    name: str


def find(text: str) -> Iterator[SecretHit]:
    """Every credential in `text`; hits may overlap."""
    for row in _candidates(text):
        for match in row.expression.finditer(text):
            if row.check is None or row.check(match[0]):
                yield SecretHit(match.start(), match.end(), row.name)
    yield from _pairs(text)
    if "://" in text:
        for match in _URL_LOGIN.finditer(text):
            yield SecretHit(match.start(2), match.end(2), "url-login")
    for match in _SCHEME.finditer(text):
        value = match[1]
        if len(value) >= 20 or (_has_digit_and_letter(value) and "=" not in value[:-3]):
            yield SecretHit(match.start(1), match.end(1), "auth-scheme")


def _pairs(text: str) -> Iterator[SecretHit]:
    if "=" in text or ":" in text:
        for key in _KEY.finditer(text):  # the value is not consumed: in `failed: password=x` it holds the pair that counts
            found = key_words.family(key[1])
            if found is None or found.info_type != "SECRET" or text[max(0, key.start() - 1) : key.start()] == key[2] == ":":
                continue  # `...:secret:name` is a path with colons (an ARN)
            value = _VALUE.match(text, key.end())
            if value is not None and _is_value(value[value.lastindex or 0]) and not _is_prose(text, key[2], value):
                start, end = value.span(value.lastindex or 0)
                yield SecretHit(start, _before_closer(text, key.start(), start, end), "pair")
        yield from _lines(text)
    if "-u" in text:
        for match in _LOGIN.finditer(text):
            yield SecretHit(match.start(1), match.end(1), "login")
    if "-" in text and " " in text:
        for match in _OPTION.finditer(text):
            found = key_words.family(match[1])
            if found is not None and found.info_type == "SECRET" and _is_value(match[2]):
                yield SecretHit(match.start(2), match.end(2), "option")


def _before_closer(text: str, line: int, start: int, end: int) -> int:
    """Where a bare value ends: a bracket that was opened before it on its line closes the text around it, not the value."""
    opener = {"}": "{", "]": "[", ")": "("}.get(text[end - 1])
    if opener is None or end - start < 2 or opener in text[start:end]:
        return end
    return end - 1 if opener in text[max(text.rfind("\n", 0, line) + 1, line - 256) : line] else end


def _lines(text: str) -> Iterator[SecretHit]:
    """`key=value` as the whole of a line: the value runs to the line's end, whatever characters a password may hold."""
    for match in _LINE.finditer(text):
        found = key_words.family(match[1])
        if found is None or found.info_type != "SECRET":
            continue
        value = match[2].rstrip()
        quoted = len(value) > 2 and value[0] == value[-1] and value[0] in "\"'"  # the quotes stay: they are the file's, not the value's
        if " " not in value and not _FORM.search(value) and _is_value(value.strip("\"'")):
            yield SecretHit(match.start(2) + quoted, match.start(2) + len(value) - quoted, "line")


def _is_value(value: str) -> bool:
    bare = value.strip("*").lower()
    return bool(bare) and bare not in _PLAIN and not _VARIABLE.fullmatch(value)


def _is_prose(text: str, sign: str, value: re.Match[str]) -> bool:
    """`password: at least twelve characters` is a sentence, `password: hunter` at the end of a line is not."""
    if value.lastindex != 3 or "=" in sign:
        return False
    follows = text[value.end() : value.end() + 2]
    return value[3].isalpha() and value[3].islower() and len(follows) == 2 and follows[0] == " " and follows[1].isalpha()
