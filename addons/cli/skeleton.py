"""What `guardhouse init` writes: five commented files for a real site. They load as they stand, and let nobody in yet.

Nothing here is for development: no `unsafe_` switch, no made-up people, TLS everywhere, deny by default. A test loads
these texts, so they stay right. policies/README.md explains every key.
"""

from collections.abc import Mapping

GATEWAY = """\
# Where things are: listeners, services, issuers, keys, the audit store. What is allowed stands in rules.yaml.
# YAML 1.2. An unknown or duplicate key refuses the start with file, line and the nearest known key.
# Durations "30s 10m 1h 7d"; sizes "64KiB 1MiB"; addresses "host:port"; relative paths start at the folder that holds
# this file's folder. Secrets only by reference: env:NAME  file:/absolute/path  state:NAME  auto. Nothing is interpolated.
version: 1
name: site                                        # CHANGE: goes into the state folder's name

state: null                                       # null: $GUARDHOUSE_STATE, else $XDG_STATE_HOME/guardhouse/<name>-<hash>
keys:
  root: auto                                      # made in the state folder at the first start. Back it up: without it the store is mute

listeners:                                        # only these are ever opened, and last
  - name: main
    bind: 127.0.0.1:8443                          # CHANGE: 0.0.0.0:8443 to be reached from outside
    tls: {certificate: auto}                      # CHANGE: file:/etc/guardhouse/tls.pem (key and chain in one file, mode 0600)
    services: [app]

control:                                          # approvals, search, health, metrics: its own port
  bind: 127.0.0.1:8444
  tls: {certificate: auto}
  public_url: https://guardhouse.example.com:8444 # CHANGE: as reviewers reach it
  audiences: [https://guardhouse.example.com:8444/]
  sign_in: {issuer: corp, mode: paste-token}
  roles:
    investigator: {groups: ["corp:security"]}     # CHANGE: search, show, export, replay
    admin: {groups: ["corp:platform"]}            # CHANGE: reload, revoke

identity:
  public_url: https://guardhouse.example.com      # CHANGE: our name as a resource server
  issuers:
    - name: corp                                  # the alias; groups and people are written corp:...
      preset: oidc
      issuer: https://idp.example.com/            # CHANGE: exactly as `iss` has it, to the last slash
      audiences: [https://guardhouse.example.com/, https://guardhouse.example.com:8444/]
      authorized_parties: null                    # null: any client of this issuer. A list closes it: [agent-cli, ci-runner]
      token_types: [at+jwt]                       # [JWT] when the provider knows no RFC 9068
      groups_claim: groups
      kind:                                       # first match counts; nothing matches: service. `human` is never guessed
        - {client: [agent-cli], kind: agent}      # CHANGE
        - {claim: user_type, is: employee, kind: human}   # CHANGE
      max_token_lifetime: 1h
  agents: {}                                      # {"corp:planner": {owner: "corp:alice"}}: the owner may not approve for the agent
  aliases: []                                     # [["corp:alice", "corp:alice-admin"]]: one person under two names

purpose: {header: X-Purpose, required: true, catalogue: [support/*, change/*]}   # CHANGE: why requests are made

services:
  - name: app                                     # CHANGE
    kind: http
    url: https://app.example.com                  # CHANGE: scheme, host, port; no path
    hosts: []                                     # matched on Host; [] only for the first service of a listener
    ca: null                                      # file:/etc/guardhouse/app-ca.pem for a private CA
    credential: {type: bearer, value: env:APP_TOKEN}   # CHANGE: the upstream's own credential; callers never hold it. null: none

audit:
  database: recordings/audit.db                   # masked content only; keys never lie here
  origin: guardhouse.example.com/site/r1          # CHANGE once, then never: it is signed into the log
  anchors: {to: [{file: state:witness.notes}]}    # CHANGE: a file on other storage, so that a cut log is noticed
"""

RULES = """\
# What is allowed, denied and held. Order does not matter: any deny wins, else any hold, else any allow, else the default.
# A hold needs no allow beside it: the approval is the permission. So name the principals in hold rules too.
# match: keys are AND, the values of one key are OR, an absent key matches all. policies/README.md lists every key.
version: 1
default: deny
rules:
  - name: support-reads                           # CHANGE: one sentence that a reviewer can read
    match: {services: [app], methods: [GET, HEAD], paths: ["/customers/**"], principals: {groups: ["corp:support"]}}
    effect: allow
    mask: [pii]

  - name: deletes-are-held
    match: {services: [app], access: [delete], principals: {groups: ["corp:support"]}}
    effect: hold
    approval: one-platform                        # a key of approvals.yaml
    reason: "Deleting cannot be undone."

  # The gateway's own destructive operations need two other people.
  - name: erasing-evidence-needs-two
    match: {services: [guardhouse], principals: {groups: ["corp:security"]}}
    effect: hold
    approval: two-security
    reason: "What is erased cannot be brought back."
"""

MASKING = """\
# What may not leave: secrets and personal data. A service that is not named here gets always: [secrets, pii].
version: 1
nlp_engine: token
phone_regions: {home: US, text: [US, GB, DE, FR]} # CHANGE: home is your own country
profiles:
  secrets:
    entities: {SECRET: {transform: pseudonym}}
    on_unmaskable: block
  pii:
    entities:
      EMAIL_ADDRESS: {threshold: 0.5, transform: pseudonym}
      PHONE_NUMBER:  {threshold: 0.4, transform: pseudonym}
      CREDIT_CARD:   {threshold: 0.5, transform: mask, keep_last: 4}
      US_SSN:        {threshold: 0.5, transform: redact}
      IBAN_CODE:     {threshold: 0.5, transform: pseudonym}
    fields: []                                    # - {key: date_of_birth, info_type: DATE_OF_BIRTH, transform: redact}
    exempt: []                                    # JSON pointers by glob, as "/**/id"
    reveal: []                                    # - {groups: ["corp:fraud-desk"], purposes: [fraud/*], kinds: [human]}
    on_unmaskable: block
services: {}                                      # app: {always: [secrets, pii]}
"""

APPROVALS = """\
# Who decides what is held. No key turns four-eyes off, and silence never approves.
version: 1
defaults:
  hold_timeout: 50s                               # on the socket, then a ticket
  approval_expiry: 1h
  execution_expiry: 10m
approvals:
  one-platform:
    requirements: [{group: "corp:platform", approvals_needed: 1}]   # CHANGE
    assurance: oidc
  two-security:                                   # the asker never votes, so three people must be in the group
    requirements: [{group: "corp:security", approvals_needed: 2}]   # CHANGE
    assurance: oidc
people: {}                                        # only for channels that carry no token: {"corp:bob": {groups: ["corp:platform"]}}
signals: {dir: null, approvers: {}}
integrations: {}                                  # pager-bot: {secrets: [env:WHSEC_IN], people: ["corp:bob"]}
"""

RETENTION = """\
# How long events are kept; the first line that matches counts. Checked now; nothing is removed until retention is built.
version: 1
rules:
  - {match: {kinds: [approval, policy, config, key, purge, erase, unseal, legal]}, keep: 7y, then: purge}
  - {match: {levels: [RequestResponse]}, keep: 90d, then: erase bodies}
  - {match: {}, keep: 400d, then: purge}          # the last line must match everything
"""

SITE: Mapping[str, str] = {
    "gateway.yaml": GATEWAY,
    "rules.yaml": RULES,
    "masking.yaml": MASKING,
    "approvals.yaml": APPROVALS,
    "retention.yaml": RETENTION,
}
