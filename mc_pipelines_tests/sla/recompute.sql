-- The second opinion on a credit, in DuckDB: from the contract's and the evidence's own JSON to state, tier and cents.
-- It shares no code with the package. Integers are HUGEINT; of the mean of error rates, whose exact sum has a
-- denominator of thousands of digits, it computes a lower and an upper bound to 10^-15 of a slice each, and says so
-- ("decided" is false) should a threshold lie between them.
with
contract as (
    select
        c ->> '$.spec.x-credit.measure' as measure,
        c ->> '$.spec.x-credit.source' as source,
        c ->> '$.spec.x-credit.exclusions' = 'both' as both_sides,
        coalesce(c ->> '$.spec.x-credit.emptySlice', 'unknown') = 'good' as empty_is_good,
        c ->> '$.spec.x-credit.currency' as currency,
        (c ->> '$.spec.objectives[0].target')::decimal(20, 12) * 100 as target,
        coalesce(c ->> '$.spec.x-credit.cap', '100')::decimal(20, 10) as cap,
        (c ->> '$.spec.x-credit.minimumAbove')::decimal(30, 6) as minimum,
        case c ->> '$.spec.x-credit.slice' when '1m' then 60000 when '5m' then 300000 when '15m' then 900000 when '1h' then 3600000 end as slice_ms,
        (c ->> '$.spec.x-credit.badSlice.errorRateAbove')::decimal(20, 10) as bad_above,
        (c ->> '$.spec.x-credit.badSlice.minimumRun')::bigint as minimum_run,
        (c ->> '$.spec.x-credit.badSlice.minimumSample')::bigint as minimum_sample
    from (select $contract::json as c)
),
evidence as (select $evidence::json as e),
-- The period once more from its dates and zone, in DuckDB's own calendar.
period as (
    select
        epoch_ms(timezone(e ->> '$.zone', split_part(e ->> '$.period', '/', 1)::timestamp)) as low,
        epoch_ms(timezone(e ->> '$.zone', split_part(e ->> '$.period', '/', 2)::timestamp + interval 1 day)) as high
    from evidence
),
facts as (
    select
        f ->> '$.kind' as kind,
        f ->> '$.amount' as amount,
        f ->> '$.state' = 'closed' and f ->> '$.faultOwner' = 'provider' as ours,
        (f ->> '$.announcedAt')::timestamptz > (f ->> '$.from')::timestamptz as late,
        greatest(epoch_ms((f ->> '$.from')::timestamptz), low) as low,
        least(epoch_ms((f ->> '$.until')::timestamptz), high) as high
    from (select unnest((e -> '$.facts')::json[]) as f from evidence), period
),
-- Maintenance that was announced after it began excludes nothing.
spans as (select * from facts where low < high and not coalesce(late, false)),
-- Milliseconds: every elementary stretch between two edges is down, excluded, deployed or not, as a whole.
edges as (select low as edge from spans union select high from spans union select low from period union select high from period),
stretches as (select edge as low, lead(edge) over (order by edge) as high from edges),
marked as (
    select
        s.high - s.low as length,
        exists (select 1 from spans f where f.kind = 'incident' and f.ours and f.low <= s.low and s.high <= f.high) as down,
        exists (select 1 from spans f where f.kind = 'maintenance' and f.low <= s.low and s.high <= f.high) as excluded,
        measure = 'downtime'
            or exists (select 1 from spans f where f.kind = 'deployment' and f.low <= s.low and s.high <= f.high) as deployed,
        both_sides
    from stretches s, contract
    where s.high is not null
),
milliseconds as (
    select
        coalesce(sum(length) filter (where deployed and not (excluded and both_sides)), 0)::hugeint as valid,
        coalesce(sum(length) filter (where deployed and down and not excluded), 0)::hugeint as lost
    from marked
),
-- Events: a granule that lies wholly in maintenance is excluded with all in it.
granules as (
    select
        (r -> '$[0]')::bigint * granule as start,
        (r -> '$[1]')::bigint as total,
        (r -> '$[2]')::bigint as bad,
        (r -> '$[3]')::bigint as excluded,
        granule
    from (
        select unnest((d -> '$.slices')::json[]) as r, (d ->> '$.granuleMs')::bigint as granule
        from (select unnest((e -> '$.slices')::json[]) as d from evidence)
    )
),
union_of_maintenance as (
    select min(low) as low, max(high) as high from (
        select *, sum(new) over (order by low, high) as part from (
            select low, high, coalesce(low > max(high) over (order by low, high rows between unbounded preceding and 1 preceding), true)::int as new
            from spans where kind = 'maintenance'
        )
    ) group by part
),
counted as (
    select
        (g.start - p.low) // coalesce(slice_ms, granule) as slice,
        case when m.low is null then bad else 0 end as bad,
        total - case when not both_sides then 0 when m.low is null then excluded else total end as valid
    from granules g
    cross join period p
    cross join contract
    left join union_of_maintenance m on m.low <= g.start and g.start + g.granule <= m.high
    where g.start >= p.low and g.start < p.high
),
slices as (select slice, sum(bad)::hugeint as bad, sum(valid)::hugeint as valid from counted group by slice having sum(valid) > 0),
events as (select coalesce(sum(bad), 0)::hugeint as lost, coalesce(sum(valid), 0)::hugeint as valid from slices),
in_period as (select ((high - low + slice_ms - 1) // slice_ms)::hugeint as slices from period, contract),
mean as (
    select
        case when empty_is_good then any_value(i.slices) else count(s.slice) end::hugeint as valid,
        coalesce(sum(bad * 1000000000000000 // s.valid), 0)::hugeint as low,
        (coalesce(sum(bad * 1000000000000000 // s.valid), 0) + count(s.slice) filter (where bad * 1000000000000000 % s.valid <> 0))::hugeint as high
    from contract cross join in_period i left join slices s on true
    group by empty_is_good
),
bad_slices as (
    select slice, slice - row_number() over (order by slice) as run from slices, contract
    where valid >= minimum_sample and bad * 100 > bad_above * valid
),
runs as (
    select coalesce(sum(length), 0)::hugeint as lost
    from (select count(*) as length from bad_slices group by run), contract
    where length >= minimum_run
),
-- Lost of valid, in one unit of 10^-15 for all measures, as a lower and an upper bound that are equal but for means.
measured as (
    select
        case when measure in ('downtime', 'deployed-downtime') then m.valid when measure = 'events' then e.valid else a.valid end as valid,
        case measure when 'slice-mean' then a.low when 'events' then e.lost * 1000000000000000
            when 'bad-runs' then r.lost * 1000000000000000 else m.lost * 1000000000000000 end as low,
        case measure when 'slice-mean' then a.high when 'events' then e.lost * 1000000000000000
            when 'bad-runs' then r.lost * 1000000000000000 else m.lost * 1000000000000000 end as high
    from contract cross join milliseconds m cross join events e cross join runs r cross join mean a
),
tiers as (
    select (t ->> '$.below')::decimal(20, 10) as below, (t ->> '$.credit')::decimal(20, 10) as credit
    from (select unnest(($contract::json -> '$.spec.x-credit.tiers')::json[]) as t)
),
-- Below T per cent means: lost / valid > 1 - T / 100, all in integers of 10^-12 per cent.
reached as (
    select
        below,
        least(credit, cap) as credit,
        low > share as surely,
        high > share as perhaps
    from (
        select *, valid * ((100 - below) * 10000000000)::hugeint * 1000 as share from tiers, measured, contract
    )
),
money as (select case currency when 'JPY' then 0 when 'BHD' then 3 else 2 end as places from contract),
charge as (
    select sum((amount::decimal(30, 6) * 1000000)::hugeint)::hugeint as micros, count(*) as charges
    from facts where kind = 'charge'
),
tier as (
    select coalesce(min_by(credit, below), 0) as percent, min(below) as below from reached where surely
),
computed as (
    -- Half up, once: micros x percent / 100 x 10^places / 10^6, with the percentage as an integer of 10^-10.
    select
        ((micros * (percent * 10000000000)::hugeint * (10 ** places)::hugeint * 2 + 1000000000000000000) // 2000000000000000000)::hugeint as minor,
        percent, below, places, charges
    from charge, tier, money
)
select
    case when valid = 0 then 'no data' when high > valid * ((100 - target) * 10000000000)::hugeint * 1000 then 'breached' else 'met' end as state,
    valid::varchar as valid,
    low::varchar as lost_low,
    high::varchar as lost_high,
    below::varchar as tier_below,
    case
        when valid = 0 or charges = 0 then null
        when minimum is not null and minor <= (minimum * 10 ** places)::hugeint then '0'
        else minor::varchar
    end as credit_minor,
    not exists (select 1 from reached where surely <> perhaps) as decided
from measured, computed, contract;
