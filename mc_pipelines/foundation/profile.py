"""Profiles: production refuses every local stand-in, each by name, all at once."""

from __future__ import annotations

from dataclasses import dataclass

from mc_pipelines.foundation.errors import ConfigurationError
from mc_pipelines.foundation.settings import Profile, Settings


@dataclass(frozen=True, slots=True)
class Refusal:
    """One local stand-in that production does not accept."""

    what: str
    setting: str
    mend: str


def local_defaults(settings: Settings) -> list[Refusal]:
    """Return every local stand-in that these settings use, whatever the profile; demo people are in the database."""
    refusals = []
    if settings.database_url is None or settings.dagster_database_url is None:
        unset = "MC_DATABASE_URL" if settings.database_url is None else "MC_DAGSTER_DATABASE_URL"
        refusals.append(Refusal("the embedded database server", unset, "name a PostgreSQL server, as role mc_app"))
    if settings.oidc_issuer is None:
        refusals.append(Refusal("the local token issuer", "MC_OIDC_ISSUER", "name your identity provider's issuer"))
    if settings.signing_key_url is None:
        refusals.append(
            Refusal("the local signing key", "MC_SIGNING_KEY_URL", "name awskms:///alias/NAME, or an encrypted file")
        )
    if settings.keyring_passphrase is None:
        refusals.append(
            Refusal("a keyring sealed by file mode alone", "MC_KEYRING_PASSPHRASE", "name the passphrase that seals it")
        )
    if settings.opa_url is None:
        refusals.append(Refusal("the embedded policy engine", "MC_OPA_URL", "name an OPA server"))
    return refusals


def refuse_local_defaults(settings: Settings) -> None:
    """Refuse to run in the production profile with any local stand-in.

    Raises:
        ConfigurationError: names all of them, each with its setting and its mend.
    """
    if settings.profile is not Profile.PRODUCTION:
        return
    refusals = local_defaults(settings)
    if refusals:
        raise ConfigurationError(
            "The production profile refuses "
            + ", ".join(f"{refusal.what} ({refusal.setting})" for refusal in refusals),
            field="MC_PROFILE",
            value=settings.profile.value,
            mend="; ".join(f"{refusal.setting}: {refusal.mend}" for refusal in refusals),
            refusals=[{"what": item.what, "setting": item.setting, "mend": item.mend} for item in refusals],
        )
