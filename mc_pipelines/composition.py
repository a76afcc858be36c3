"""Opens settings into live objects; the only place that wires rooms together.

The command line, the HTTP API and the Dagster definitions all begin here, so that each refuses the same
things: an incomplete configuration, a local stand-in in production, a server that is too old, a role that is
too mighty, a schema that is older or newer than the code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mc_pipelines.foundation.clock import Clock, SystemClock
from mc_pipelines.foundation.database import Database, normalise_url
from mc_pipelines.foundation.embedded import ensure_running
from mc_pipelines.foundation.errors import ConfigurationError, MaestroError
from mc_pipelines.foundation.ids import Digest, TenantId
from mc_pipelines.foundation.logs import get_logger
from mc_pipelines.foundation.object_store import ObjectStore, open_object_store
from mc_pipelines.foundation.profile import refuse_local_defaults
from mc_pipelines.foundation.server import look, refuse_old, refuse_unsuitable
from mc_pipelines.foundation.settings import Profile, Settings, load_settings
from mc_pipelines.migrations.chain import CHAIN, refuse_rewritten

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from mc_pipelines.attest.signer import Signer
    from mc_pipelines.decision.engine import PolicyEngine
    from mc_pipelines.decision.packs import Pack
    from mc_pipelines.estimator.artefact import Artefact
    from mc_pipelines.keys.provider import KeyProvider
    from mc_pipelines.keys.store import EncryptedObjectStore
    from mc_pipelines.provenance.cursor import CursorKey
    from mc_pipelines.provenance.ingest import Document
    from mc_pipelines.provenance.marking import Marking
    from mc_pipelines.provenance.pruning import Report
    from mc_pipelines.provenance.store import GraphStore
    from mc_pipelines.provenance.trust_logic import GatePolicy
    from mc_pipelines.provenance.trust_roots import TrustRoots
    from mc_pipelines.provenance.verification import VerdictCache
    from mc_pipelines.runner.budget import BudgetGate
    from mc_pipelines.runner.dispatcher import Dispatcher
    from mc_pipelines.runner.estimates import Estimator
    from mc_pipelines.runner.policies import PackSource


@dataclass(frozen=True)
class Context:
    """What a command, a request or a run works with."""

    settings: Settings
    database: Database
    """As mc_app."""
    clock: Clock = field(default_factory=SystemClock)

    @cached_property
    def object_store(self) -> ObjectStore:
        """The plain store: facts, models and graph generations; never receipts or logs."""
        return open_object_store(object_store_url(self.settings))

    @property
    def generations_folder(self) -> Path:
        """The folder of provenance generations: on this machine, because they are memory-mapped."""
        return self.settings.home_path / "generations"

    @cached_property
    def graph_store(self) -> GraphStore:
        """Open snapshots of the provenance graph."""
        from mc_pipelines.provenance.store import GraphStore

        return GraphStore(self.database, self.generations_folder, self.clock)

    @cached_property
    def verdicts(self) -> VerdictCache:
        """Verdicts on signatures, by content and by what was believed."""
        from mc_pipelines.provenance.verification import VerdictCache

        return VerdictCache()

    @cached_property
    def graph_policy(self) -> tuple[PolicyEngine, Digest]:
        """The engine of the pack that says what a reader of the graph may see, and the pack's revision."""
        from mc_pipelines.decision.engine import open_engine
        from mc_pipelines.decision.packs import loaded

        pack = loaded("graph")
        return open_engine(self.settings, pack, remember=1024), pack.revision

    @cached_property
    def estimates(self) -> Estimator:
        """What publish asks for an estimate: the champion of the registry, read once a day or change."""
        from mc_pipelines.runner.estimates import ChampionEstimates

        return ChampionEstimates(self.object_store)

    @cached_property
    def budget_gate(self) -> BudgetGate:
        """What publish asks about a manifest with a budget."""
        from mc_pipelines.decision.engine import open_engine
        from mc_pipelines.decision.packs import loaded
        from mc_pipelines.runner.budget import PACK, BudgetGate

        pack = loaded(PACK)
        return BudgetGate(lambda: open_engine(self.settings, pack), pack.revision)

    @cached_property
    def gate_policy(self) -> GatePolicy:
        """What the gate asks of a bundle: the data of the pack `graph`."""
        from mc_pipelines.decision.packs import loaded
        from mc_pipelines.provenance.trust_logic import GatePolicy

        return GatePolicy.from_document(dict(loaded("graph").data["gate"]))

    @cached_property
    def cursors(self) -> CursorKey:
        """Makes and reads the graph's cursors; one key for all processes of this machine."""
        from mc_pipelines.provenance.cursor import load_cursor_key

        return load_cursor_key(self.settings.home_path / "keys")

    @cached_property
    def keyring(self) -> KeyProvider:
        """The provider of keys: the local sealed keyring, or what the settings name."""
        from mc_pipelines.keys.providers.local import LocalKeyring

        secret = self.settings.keyring_passphrase
        return LocalKeyring(
            self.settings.home_path / "keys" / "keyring",
            passphrase=None if secret is None else secret.get_secret_value().encode(),
            clock=self.clock,
            expected=self._keyring_in_use,
        )

    def _keyring_in_use(self) -> bool:
        from mc_pipelines.keys.inventory import wraps_data_keys

        with self.database.begin() as connection:
            return wraps_data_keys(connection, "local")

    @cached_property
    def encrypted_store(self) -> EncryptedObjectStore:
        """The store of receipts, logs and input files."""
        from mc_pipelines.keys.store import EncryptedObjectStore

        return EncryptedObjectStore(self.object_store, self.keyring, self.database, clock=self.clock)

    @property
    def signer(self) -> Signer:
        """The service's own signing key, at its newest version; looked up anew, because keys rotate while we run."""
        from mc_pipelines.keys.signers import active_signer, entered

        if self.settings.signing_key_url is None:
            return active_signer(self.database, self.keyring)
        return entered(self.database, self._named_signer, self.clock)

    @cached_property
    def _named_signer(self) -> Signer:
        from mc_pipelines.keys.signing_key import open_signing_key

        url, passphrase = self.settings.signing_key_url, self.settings.signing_key_passphrase
        assert url is not None  # noqa: S101 - asked before
        return open_signing_key(
            url.get_secret_value(),
            passphrase=None if passphrase is None else passphrase.get_secret_value().encode(),
            sealed_only=self.settings.profile is Profile.PRODUCTION,
        )


def provenance_trust(context: Context) -> TrustRoots:
    """Return what verification at ingest believes now: our own key history, and whom the trust file names.

    Raises:
        InputError: the trust file is not one; see :mod:`mc_pipelines.provenance.trust_file`.
    """
    from dataclasses import replace

    from mc_pipelines.attest.key_history import in_order, load_history
    from mc_pipelines.attest.trust import Trust
    from mc_pipelines.provenance.trust_file import load_trust_file
    from mc_pipelines.provenance.trust_roots import TrustRoots

    path = context.settings.provenance_trust
    others = TrustRoots() if path is None else load_trust_file(path)
    with context.database.begin() as connection:
        return replace(others, own=Trust(in_order(list(load_history(connection)))))


def provenance_marking(
    context: Context, tenant: TenantId, classification: int | None = None, purposes: Iterable[str] = ()
) -> Marking:
    """Return who may read what is ingested for a tenant: as its sender says, else by the tenant's data class.

    Raises:
        InputError: see :func:`mc_pipelines.provenance.marking.choose_marking` and ``Marking.require_on``.
        UnavailableError: the pack `graph` does not know the tenant's data class.
    """
    from mc_pipelines.decision.packs import loaded
    from mc_pipelines.foundation.errors import NotFoundError
    from mc_pipelines.foundation.tenants import get_tenant
    from mc_pipelines.provenance.marking import choose_marking
    from mc_pipelines.provenance.model import PUBLIC

    data_class = None
    if tenant != PUBLIC:  # it is nobody's, so it has no data class
        with context.database.begin() as connection, suppress(NotFoundError):
            data_class = get_tenant(connection, tenant).data_class
    marking = choose_marking(loaded("graph").data, data_class, classification, purposes)
    marking.require_on(tenant)
    return marking


def signed_receipts(context: Context) -> Iterator[tuple[str, bytes]]:
    """Yield the path and the envelope of every receipt, opened: what a rotation of the signer verifies again."""
    for _tenant, receipts in receipts_by_tenant(context):
        yield from receipts


def receipts_by_tenant(context: Context) -> Iterator[tuple[TenantId, list[tuple[str, bytes]]]]:
    """Yield each tenant with the path and the envelope of its receipts, opened."""
    from sqlalchemy import select

    from mc_pipelines.executions.records import execution_receipt as receipts

    with context.database.begin() as connection:
        query = select(receipts.c.tenant, receipts.c.path).order_by(receipts.c.tenant, receipts.c.path)
        rows = connection.execute(query).all()
    for tenant, group in groupby(rows, key=lambda row: row.tenant):
        yield TenantId(tenant), [(row.path, context.encrypted_store.get(row.path, tenant=tenant)) for row in group]


def receipt_documents(context: Context) -> Iterator[tuple[TenantId, Iterator[Document]]]:
    """Yield each tenant with its receipts that the provenance log must be sent, opened one by one.

    Those that it does not know yet; all of them once a key of ours is compromised, because their verdicts may change.
    Each was recorded by us when it was sealed, which proves that it existed then.
    """
    from sqlalchemy import text

    from mc_pipelines.attest.key_history import KeyStatus, load_history

    wanted = text(
        "select path, recorded_at from execution_receipt as receipt where tenant = :tenant and (:all or not exists"
        " (select from provenance_documents as document where document.tenant = receipt.tenant"
        " and document.digest = receipt.receipt_digest)) order by path"
    )
    with context.database.begin() as connection:
        tenants = connection.execute(text("select distinct tenant from execution_receipt order by 1")).scalars().all()
        everything = any(key.status is KeyStatus.COMPROMISED for key in load_history(connection))
    for tenant in map(TenantId, tenants):
        with context.database.begin(tenant=tenant) as connection:
            rows = connection.execute(wanted, {"tenant": tenant, "all": everything}).all()
        yield tenant, _opened(context, tenant, [(row.path, row.recorded_at) for row in rows])


def _opened(context: Context, tenant: TenantId, receipts: list[tuple[str, datetime]]) -> Iterator[Document]:
    from mc_pipelines.provenance.ingest import Document

    for path, recorded_at in receipts:
        yield Document(path, context.encrypted_store.get(path, tenant=tenant), recorded_at)


def issue_summary(context: Context, tenant: TenantId, ruling: dict[str, Any]) -> tuple[bytes, str]:
    """Sign a gate's ruling as a verification summary, record it as a receipt and return it with its verdict.

    Raises:
        ConflictError: the ruling is unknown.
        InputError: the bundle is not named by a digest.
    """
    from mc_pipelines.provenance.ingest import Document, ingest_documents
    from mc_pipelines.provenance.verification_summary import sign_summary

    envelope = sign_summary(ruling, context.signer, now=context.clock.now()).to_json()
    document = Document("verification summary", envelope)
    (done,) = ingest_documents(
        context.database,
        tenant,
        [document],
        provenance_trust(context),
        clock=context.clock,
        marking=provenance_marking(context, tenant),
    )
    return envelope, done.verification


def record_model_lineage(context: Context, artefact: Artefact) -> str:
    """Record in the shared partition which data and which earlier model a model was trained from; return the verdict.

    One model serves every tenant, so its lineage lies where every tenant reads. The same model again changes nothing.

    Raises:
        ConflictError: the graph refuses the provenance.
    """
    from mc_pipelines.estimator.lineage import signed_lineage
    from mc_pipelines.foundation.errors import ConflictError
    from mc_pipelines.provenance.ingest import Document, ingest_documents
    from mc_pipelines.provenance.model import PUBLIC

    envelope = signed_lineage(context.object_store, artefact, context.signer)
    (done,) = ingest_documents(
        context.database,
        PUBLIC,
        [Document("model provenance", envelope)],
        provenance_trust(context),
        clock=context.clock,
        operator=True,
    )
    if done.status == "refused":
        raise ConflictError(
            f"The provenance graph refuses the model's lineage: {done.reason}",
            field="model_id",
            value=artefact.model_id,
        )
    return str(done.verification)


def graph_tenants(context: Context) -> list[TenantId]:
    """Return every tenant that has a graph, the shared partition included."""
    from mc_pipelines.provenance.edge_log import known_tenants

    with context.database.begin() as connection:
        return known_tenants(connection)


def prune_graphs(context: Context, *, dry_run: bool = False) -> Iterator[Report]:
    """Prune every tenant's graph by the default rules; claims go to the cold tier first."""
    from mc_pipelines.provenance.cold import Archive
    from mc_pipelines.provenance.pruning import prune

    for tenant in graph_tenants(context):
        archive = Archive(context.encrypted_store, tenant)
        yield prune(context.database, tenant, archive=archive, clock=context.clock, dry_run=dry_run)


def placement_packs(context: Context) -> PackSource:
    """Return what names the placement policy of a tenant: the policy pointer's revisions, else the shipped pack.

    The pointer is read for every batch, so a move or a rollback decides from the next execution on; packs are kept.
    A bundle is believed only if a key of the service signed it.
    """
    from mc_pipelines.attest.key_history import service_keys
    from mc_pipelines.decision.packs import loaded
    from mc_pipelines.policy.bundles import load_bundle
    from mc_pipelines.policy.pointers import get_pointer
    from mc_pipelines.runner.policies import PACK, InForce

    shipped = loaded(PACK)
    known: dict[Digest, Pack] = {shipped.revision: shipped}

    def pack(connection: Connection, revision: Digest) -> Pack:
        if revision not in known:
            trusted = service_keys(connection)
            known[revision] = load_bundle(context.object_store, PACK, revision, trusted=trusted)
        return known[revision]

    def source(connection: Connection, tenant: TenantId) -> InForce:
        pointer = get_pointer(connection, PACK)
        if pointer is None:
            return InForce(shipped)
        decides = pack(connection, pointer.revision_for(tenant))
        return InForce(decides, _warning_pack(pack, connection, pointer.warning_for(tenant)), version=pointer.version)

    return source


def _warning_pack(
    pack: Callable[[Connection, Digest], Pack], connection: Connection, revision: Digest | None
) -> Pack | None:
    """Return the pack that only warns; one that cannot be loaded warns nobody and hinders nothing."""
    if revision is None:
        return None
    try:
        return pack(connection, revision)
    except MaestroError as error:
        get_logger(__name__).warning("policy.warning-pack-unreadable", revision=revision, error=str(error))
        return None


def local_runner(context: Context, **options: Any) -> Dispatcher:
    """Return a dispatcher of this machine under the policy in force; make it in the thread of its event loop.

    Args:
        context: what it works with.
        **options: of :class:`mc_pipelines.runner.dispatcher.Dispatcher`, such as ``lease``.
    """
    from mc_pipelines.runner.local import local_dispatcher

    return local_dispatcher(
        context.settings,
        database=context.database,
        store=context.object_store,
        sealed=context.encrypted_store,
        signer=lambda: context.signer,
        clock=context.clock,
        packs=placement_packs(context),
        **options,
    )


METRIC_SOURCES = (
    "mc_pipelines.estimator.business_metrics",
    "mc_pipelines.keys.metrics",
    "mc_pipelines.policy.metrics",
    "mc_pipelines.runner.metrics",
    "mc_pipelines.sla.metrics",
)
"""Modules that register what /metrics reads from the database; importing them is what registers."""


def register_metrics() -> None:
    """Import every module that registers business metrics."""
    for name in METRIC_SOURCES:
        import_module(name)


def object_store_url(settings: Settings) -> str:
    """Return the URL of the object store: the one given, or a folder in MC_HOME."""
    return settings.object_store_url or (settings.home_path / "objects").as_uri()


def open_context(settings: Settings | None = None, *, clock: Clock | None = None) -> Context:
    """Open everything a command needs; start, bootstrap and upgrade the embedded server where that is used.

    Raises:
        ConfigurationError: the settings, the role, the server or its schema are refused; the mend is named.
        UnavailableError: the database does not answer.
    """
    settings = settings or load_settings()
    refuse_local_defaults(settings)
    context = Context(settings, open_database(settings), clock or SystemClock())
    if settings.profile is Profile.PRODUCTION:
        _refuse_demo_people(context.database)
    return context


def open_database(settings: Settings) -> Database:
    """Open our records as mc_app, at the revision of this code.

    Raises:
        ConfigurationError: the server, the role or the schema is refused.
        UnavailableError: the database does not answer.
    """
    if settings.database_url is not None:
        url = normalise_url(settings.database_url.get_secret_value())
        owner_url = None if settings.database_admin_url is None else settings.database_admin_url.get_secret_value()
    else:
        urls = ensure_running(settings)
        url, owner_url = urls.app, urls.owner
    database = Database(url)
    try:
        facts = look(database)
        refuse_unsuitable(facts, database)
        refuse_rewritten(facts, safe_url=database.safe_url)
        if facts.revision != CHAIN[-1]:
            _reach_head(settings, facts.revision, owner_url)
    except BaseException:
        database.dispose()
        raise
    return database


def _reach_head(settings: Settings, revision: str | None, owner_url: str | None) -> None:
    if revision is not None and revision not in CHAIN:
        raise ConfigurationError(
            "The schema of the database is newer than this code",
            field="revision",
            value=revision,
            mend=f"install the release that made it; this one knows revisions up to {CHAIN[-1]}",
        )
    if settings.profile is Profile.PRODUCTION or owner_url is None:
        raise ConfigurationError(
            f"The schema of the database is behind this code, which needs {CHAIN[-1]}",
            field="revision",
            value=revision or "none",
            mend="run `mc db upgrade` with MC_DATABASE_ADMIN_URL set to the owner's URL",
        )
    from mc_pipelines.migrations.upgrade import upgrade

    owner = Database(owner_url)
    try:
        refuse_old(look(owner), owner)
        upgrade(owner)
    finally:
        owner.dispose()


def _refuse_demo_people(database: Database) -> None:
    from mc_pipelines.foundation.tenants import has_demo_people

    with database.begin() as connection:
        if has_demo_people(connection):
            raise ConfigurationError(
                "The production profile refuses people made by the demo",
                field="person.demo",
                value="true",
                mend="use a database in which `mc demo` never ran",
            )
