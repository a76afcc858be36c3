"""Schema of provenance: the edge log, what it names, and the generations built from it."""

from __future__ import annotations

from alembic import op

from mc_pipelines.foundation.database import grant_app

revision = "0010_provenance"
down_revision = "0009_showback"
branch_labels = None
depends_on = None

# Two indexes are partial so that only a query that says `seq >= 0`, which is always so, can use them: of tables that
# were never analysed, the planner takes them for as good as the primary key where a node is looked up.
_TABLES = """
create table provenance_heads (
    tenant text not null, seq bigint not null,
    constraint pk_provenance_heads primary key (tenant)
);
create table provenance_documents (
    tenant text not null, seq bigint not null, digest text not null, name text not null, format text not null,
    recorded_at timestamptz not null, valid_from timestamptz not null, valid_to timestamptz,
    series text, version integer not null, label smallint not null, prunable boolean not null,
    verification jsonb not null, remarks jsonb not null, nodes integer not null, edges integer not null,
    constraint pk_provenance_documents primary key (tenant, seq),
    constraint uq_provenance_documents_tenant_digest unique (tenant, digest)
);
create index ix_provenance_documents_tenant_series on provenance_documents (tenant, series)
    where series is not null;
create table provenance_claims (
    recorded_on date not null, tenant text not null, seq bigint not null, ordinal integer not null,
    source uuid not null, target uuid not null, type smallint not null,
    constraint pk_provenance_claims primary key (recorded_on, tenant, seq, ordinal),
    constraint ck_provenance_claims_type check (type between 0 and 4)
) partition by range (recorded_on);
create index ix_provenance_claims_tenant_source on provenance_claims (tenant, source) where type = 4;
create table provenance_nodes (
    seq bigint not null, rank bigint not null, covers_from timestamptz, mark smallint not null,
    kind smallint not null, stub boolean not null, tenant text not null, node uuid not null, id text not null,
    label text, attributes jsonb,
    constraint pk_provenance_nodes primary key (tenant, node)
);
create index ix_provenance_nodes_tenant_seq on provenance_nodes (tenant, seq) where seq >= 0;
create table provenance_descriptions (
    seq bigint not null, rank bigint not null, covers_from timestamptz, mark smallint not null,
    kind smallint not null, stub boolean not null, tenant text not null, node uuid not null,
    label text, attributes jsonb,
    constraint pk_provenance_descriptions primary key (tenant, node, rank, seq)
);
create index ix_provenance_descriptions_tenant_seq on provenance_descriptions (tenant, seq) where seq >= 0;
create index ix_provenance_descriptions_tenant_node_rank on provenance_descriptions (tenant, node, rank)
    where covers_from is not null;
create table provenance_aliases (
    tenant text not null, seq bigint not null, first uuid not null, second uuid not null,
    constraint pk_provenance_aliases primary key (tenant, seq, first, second)
);
create index ix_provenance_aliases_tenant_first on provenance_aliases (tenant, first);
create index ix_provenance_aliases_tenant_second on provenance_aliases (tenant, second);
create table provenance_closures (
    tenant text not null, seq bigint not null, closed_seq bigint not null, valid_to timestamptz,
    rule text not null, recorded_at timestamptz not null, cold text,
    constraint pk_provenance_closures primary key (tenant, seq, closed_seq)
);
create table provenance_tombstones (
    tenant text not null, seq bigint not null, node uuid not null, type smallint not null,
    direction smallint not null, edges integer not null, rule text not null, pruned_at timestamptz not null,
    root bytea not null,
    constraint pk_provenance_tombstones primary key (tenant, seq, node, type, direction)
);
create index ix_provenance_tombstones_tenant_node on provenance_tombstones (tenant, node);
create table provenance_roots (
    tenant text not null, node uuid not null, reason text not null, id text not null,
    since timestamptz not null, until timestamptz,
    constraint pk_provenance_roots primary key (tenant, node, reason),
    constraint ck_provenance_roots_reason check (reason in ('live', 'hold'))
);
create table provenance_run_events (
    tenant text not null, run text not null, document text not null, completed boolean not null,
    waiting jsonb not null,
    constraint pk_provenance_run_events primary key (tenant, run, document)
);
create table provenance_generations (
    tenant text not null, generation text not null, seq bigint not null, path text not null,
    nodes bigint not null, edges bigint not null, bytes bigint not null, built_at timestamptz not null,
    constraint pk_provenance_generations primary key (tenant, generation)
);
create table provenance_pointers (
    tenant text not null, generation text not null, seq bigint not null,
    constraint pk_provenance_pointers primary key (tenant)
)
"""

# The application may not create tables. This function, owned by the owner, makes the partition of one day and
# nothing else. `create` and `attach` take weaker locks on the log than `create table ... partition of`.
_PARTITION = """
create function mc_provenance_partition(day date) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    name text := 'provenance_claims_' || to_char(day, 'YYYYMMDD');
begin
    if to_regclass('public.' || name) is not null then
        return;
    end if;
    perform pg_advisory_xact_lock(hashtext('mc_provenance_partition'));
    if to_regclass('public.' || name) is not null then
        return;
    end if;
    execute format('create table %I (like provenance_claims including all)', name);
    execute format(
        'alter table provenance_claims attach partition %I for values from (%L) to (%L)', name, day, day + 1);
end $$
"""

# table -> privileges of the application; only what it names can change.
_GRANTS = {
    "provenance_heads": ("select", "insert", "update", "delete"),
    "provenance_documents": ("select", "insert", "delete"),
    "provenance_claims": ("select", "insert", "delete"),
    "provenance_nodes": ("select", "insert", "update", "delete"),
    "provenance_descriptions": ("select", "insert", "delete"),
    "provenance_aliases": ("select", "insert", "delete"),
    "provenance_closures": ("select", "insert", "delete"),
    "provenance_tombstones": ("select", "insert", "delete"),
    "provenance_roots": ("select", "insert", "update", "delete"),
    "provenance_run_events": ("select", "insert", "delete"),
    "provenance_generations": ("select", "insert", "delete"),
    "provenance_pointers": ("select", "insert", "update", "delete"),
}
_SECURED = (
    "provenance_documents",
    "provenance_claims",
    "provenance_nodes",
    "provenance_descriptions",
    "provenance_aliases",
    "provenance_closures",
    "provenance_tombstones",
    "provenance_roots",
    "provenance_run_events",
)


def upgrade() -> None:
    """Create the tables."""
    for statement in _TABLES.split(";\n"):
        op.execute(statement)
    op.execute(_PARTITION)
    op.execute("revoke execute on function mc_provenance_partition(date) from public")
    op.execute("grant execute on function mc_provenance_partition(date) to mc_app")
    for table, privileges in _GRANTS.items():
        op.execute(grant_app(table, *privileges))
    for table in _SECURED:
        own = "tenant = current_setting('mc.tenant', true)"
        op.execute(f"alter table {table} enable row level security")
        op.execute(f"alter table {table} force row level security")  # for the owner too
        op.execute(f"create policy tenant_reads on {table} for select using ({own} or tenant = 'public')")
        op.execute(f"create policy tenant_adds on {table} for insert with check ({own})")
        op.execute(f"create policy tenant_changes on {table} for update using ({own}) with check ({own})")
        op.execute(f"create policy tenant_deletes on {table} for delete using ({own})")


def downgrade() -> None:
    """Drop the tables."""
    op.execute("drop function mc_provenance_partition(date)")
    for table in reversed(_GRANTS):
        op.execute(f"drop table {table}")
