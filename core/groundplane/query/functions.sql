-- The functions that compiled filters call. They never raise: what cannot be converted is NULL.

CREATE SCHEMA IF NOT EXISTS gp;

-- A stored date as on the wire; an unset date is the empty text.
CREATE OR REPLACE FUNCTION gp.date_text(moment timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT COALESCE(to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS"Z"'), '') $$;

-- A text as JSON. PostgreSQL 17 has a function for it that does not look up the type each time.
DO $do$ BEGIN
  EXECUTE format(
    'CREATE OR REPLACE FUNCTION gp.quoted(value text) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS %L',
    CASE WHEN current_setting('server_version_num')::integer >= 170000
      THEN 'SELECT JSON_SCALAR(value)::text' ELSE 'SELECT to_json(value)::text' END
  );
END $do$;

-- A number as text: integral values without decimals, others in their shortest form.
CREATE OR REPLACE FUNCTION gp.number_text(number double precision) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE WHEN number = trunc(number) AND abs(number) < 1e18 THEN number::bigint::text
                ELSE number::text END
$$;

-- A point as the JSON object that the wire shows.
CREATE OR REPLACE FUNCTION gp.point_text(place point) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT '{"lon":' || gp.number_text(place[0]) || ',"lat":' || gp.number_text(place[1]) || '}' $$;

-- A number in double precision; beyond its range infinite or zero.
CREATE OR REPLACE FUNCTION gp.clamped(number numeric) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE
        WHEN number = 0 OR abs(number) < 1e-307 THEN 0::double precision
        WHEN abs(number) > 1.7976931348623157e308 THEN
            CASE WHEN number > 0 THEN 'Infinity'::double precision ELSE '-Infinity'::double precision END
        ELSE number::double precision
    END
$$;

-- The number that a text is as a whole (blanks around it allowed), NULL if it is none.
-- Numbers beyond double precision become infinite or zero; absurdly long ones are no numbers.
CREATE OR REPLACE FUNCTION gp.to_number(source text) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE
        WHEN source IS NULL OR length(source) > 400 THEN NULL
        WHEN source COLLATE "C" ~ '^-?[0-9]{1,15}(\.[0-9]{1,15})?$' THEN source::double precision
        WHEN source COLLATE "C" !~ '^[ \t\n\v\f\r]*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?[ \t\n\v\f\r]*$' THEN NULL
        ELSE gp.clamped(btrim(source, E' \t\n\v\f\r')::numeric)
    END
$$;

-- Whether a JSON text has escapes that PostgreSQL cannot decode: U+0000 and halves of surrogate pairs.
-- Escaped backslashes go first, then whole pairs; what is left of those escapes is bad.
CREATE OR REPLACE FUNCTION gp.has_bad_escape(source text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT regexp_replace(
        replace(source, '\\', ''),
        '\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}', '', 'g'
    ) COLLATE "C" ~ '\\u(0000|[dD][89a-fA-F])'
$$;

-- The value itself, NULL when reading its texts would raise.
CREATE OR REPLACE FUNCTION gp.sound_json(value json) RETURNS json
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE WHEN strpos(value::text, '\u') = 0 THEN value
                WHEN gp.has_bad_escape(value::text) THEN NULL
                ELSE value END
$$;

-- The number of a sound JSON value; booleans count as 1 and 0.
CREATE OR REPLACE FUNCTION gp.json_number(value json) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE json_typeof(value)
        WHEN 'number' THEN gp.to_number(value #>> '{}')
        WHEN 'boolean' THEN CASE value #>> '{}' WHEN 'true' THEN 1 ELSE 0 END
    END
$$;

-- The text of a sound JSON value: of a string itself, of objects and arrays their JSON.
CREATE OR REPLACE FUNCTION gp.json_text(value json) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE json_typeof(value)
        WHEN 'string' THEN value #>> '{}'
        WHEN 'object' THEN value::text
        WHEN 'array' THEN value::text
    END
$$;

-- Kilometres between two places on a sphere, by the law of cosines.
-- Rounding can push the cosine out of range, and infinite angles have none: both give NULL.
CREATE OR REPLACE FUNCTION gp.geo_distance(
    lon_a double precision, lat_a double precision, lon_b double precision, lat_b double precision
) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE WHEN cosine BETWEEN -1 AND 1 THEN 6371 * acos(cosine) END
      FROM (SELECT CASE
                WHEN greatest(abs(lon_a), abs(lat_a), abs(lon_b), abs(lat_b)) < 1e9 THEN
                    cos(radians(lat_a)) * cos(radians(lat_b)) * cos(radians(lon_b) - radians(lon_a))
                    + sin(radians(lat_a)) * sin(radians(lat_b))
            END AS cosine) AS angle
$$;

-- Days since 1970-01-01 of a date in the proleptic Gregorian calendar; the day may lie outside its month.
-- The algorithm is Howard Hinnant's days_from_civil, which counts years from March in eras of 400.
CREATE OR REPLACE FUNCTION gp.days_of(years bigint, months bigint, days bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100
           + (153 * ((months + 9) % 12) + 2) / 5 + days - 1 - 719468
      FROM (SELECT y, floor(y / 400.0)::bigint AS era, y - floor(y / 400.0)::bigint * 400 AS year_of_era
              FROM (SELECT years - (months <= 2)::integer AS y) AS shifted) AS march
$$;

-- Year, month and day of a number of days since 1970-01-01; the inverse of gp.days_of.
CREATE OR REPLACE FUNCTION gp.date_of(days bigint) RETURNS bigint[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT ARRAY[year_of_era + era * 400 + (month <= 2)::integer, month,
                 day_of_year - (153 * shifted_month + 2) / 5 + 1]
      FROM (SELECT *, shifted_month + CASE WHEN shifted_month < 10 THEN 3 ELSE -9 END AS month
              FROM (SELECT *, (5 * day_of_year + 2) / 153 AS shifted_month
                      FROM (SELECT *, day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100)
                                   AS day_of_year
                              FROM (SELECT era, day_of_era,
                                           (day_of_era - day_of_era / 1460 + day_of_era / 36524
                                            - day_of_era / 146096) / 365 AS year_of_era
                                      FROM (SELECT era, days + 719468 - era * 146097 AS day_of_era
                                              FROM (SELECT floor((days + 719468) / 146097.0)::bigint AS era) AS a
                                           ) AS b) AS c) AS d) AS e) AS f
$$;

-- A year in four digits; those before year 0 with a sign.
CREATE OR REPLACE FUNCTION gp.year_text(years bigint) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT CASE WHEN years < 0 THEN '-' ELSE '' END || lpad(abs(years)::text, 4, '0') $$;

-- Milliseconds of HH:MM[:SS[.SSS]]; NULL when a part is out of range.
CREATE OR REPLACE FUNCTION gp.clock_of(source text) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE WHEN part[1]::integer <= 24 AND part[2]::integer <= 59 AND COALESCE(part[3], '0')::integer <= 59
        THEN part[1]::bigint * 3600000 + part[2]::bigint * 60000 + COALESCE(part[3], '0')::bigint * 1000
             + floor(('0' || COALESCE(left(part[4], 10), ''))::double precision * 1000 + 0.5)::bigint END
      FROM regexp_match(source COLLATE "C", '^([0-9]{2}):([0-9]{2})(?::([0-9]{2})(\.[0-9]+)?)?$') AS part
$$;

-- Milliseconds since 1970 of a time value (not of a number); NULL when it is none.
CREATE OR REPLACE FUNCTION gp.instant_of(source text) RETURNS bigint
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
DECLARE
    part text[];
    days bigint := 10957; -- 2000-01-01, the date of a time alone
    ticks bigint := 0;
    zone bigint := 0;
BEGIN
    IF source IS NULL OR length(source) > 100 THEN
        RETURN NULL;
    END IF;
    IF lower(source) = 'now' THEN
        RETURN floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint;
    END IF;
    part := regexp_match(source COLLATE "C",
        '^(?:([0-9]{4})-([0-9]{2})-([0-9]{2}))?(?:[ T]*([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?))?[ ]*([zZ]|[+-][0-9]{2}:[0-9]{2})?[ ]*$');
    IF part IS NULL OR (part[1] IS NULL AND (part[4] IS NULL OR source COLLATE "C" !~ '^[0-9]')) THEN
        RETURN NULL;
    END IF;
    IF part[1] IS NOT NULL AND part[4] IS NOT NULL AND source COLLATE "C" !~ '^[0-9-]{10}[ T]' THEN
        RETURN NULL;
    END IF;
    IF part[1] IS NOT NULL THEN
        IF part[2]::integer NOT BETWEEN 1 AND 12 OR part[3]::integer NOT BETWEEN 1 AND 31 THEN
            RETURN NULL;
        END IF;
        days := gp.days_of(part[1]::bigint, part[2]::bigint, part[3]::bigint);
    END IF;
    IF part[4] IS NOT NULL THEN
        ticks := gp.clock_of(part[4]);
    END IF;
    IF length(part[5]) = 6 THEN
        IF substr(part[5], 2, 2)::integer > 14 OR substr(part[5], 5, 2)::integer > 59 THEN
            RETURN NULL;
        END IF;
        zone := substr(part[5], 2, 2)::bigint * 3600000 + substr(part[5], 5, 2)::bigint * 60000;
        IF left(part[5], 1) = '-' THEN
            zone := -zone;
        END IF;
    END IF;
    RETURN days * 86400000 + ticks - zone;
END
$$;

-- SQLite's strftime: the time value, changed by the modifiers from left to right, in the given format.
CREATE OR REPLACE FUNCTION gp.strftime(format text, source text, modifiers text[]) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
DECLARE
    earliest CONSTANT bigint := -210866760000000; -- Julian day 0 and the end of year 9999, in
    latest CONSTANT bigint := 253402300799999;    -- milliseconds since 1970
    instant bigint;
    number double precision; -- set while the time value is a number that nothing has interpreted yet
    word text;
    part text[];
    amount double precision;
    whole bigint;
    civil bigint[];
    over bigint := 0; -- days by which the last step in months went past the end of its month
    subsecond boolean := false;
    result text := '';
    rest text := format;
    days bigint;
    ticks bigint;
    year_day bigint;
    week_day bigint;
    first_thursday bigint;
    week_year bigint;
    piece text;
    first boolean := true;
BEGIN
    IF format IS NULL OR source IS NULL THEN
        RETURN NULL;
    END IF;
    number := gp.to_number(source);
    IF number IS NULL THEN
        instant := gp.instant_of(source);
    ELSIF number >= 0 AND number < 5373484.5 THEN
        instant := floor((number - 2440587.5) * 86400000 + 0.5)::bigint;
    END IF;
    FOREACH word IN ARRAY COALESCE(modifiers, '{}') LOOP
        word := lower(word);
        IF word IN ('subsec', 'subsecond') THEN
            subsecond := true;
            first := false;
            CONTINUE;
        END IF;
        IF word IN ('unixepoch', 'julianday', 'auto') THEN
            -- These say what the number is, so they come first and need one.
            IF NOT first OR number IS NULL THEN
                RETURN NULL;
            END IF;
            IF word = 'unixepoch' OR (word = 'auto' AND NOT (number >= 0 AND number < 5373484.5)) THEN
                IF number NOT BETWEEN -210866760000 AND 253402300799 THEN
                    RETURN NULL;
                END IF;
                instant := floor(number * 1000 + 0.5)::bigint;
            END IF;
            number := NULL;
            first := false;
            CONTINUE;
        END IF;
        first := false;
        IF instant IS NULL THEN
            RETURN NULL;
        END IF;
        days := floor(instant / 86400000.0)::bigint;
        ticks := instant - days * 86400000;
        part := regexp_match(word COLLATE "C", '^([+-]?[0-9]{1,15}(?:\.[0-9]{0,15})?)[ ]+(day|hour|minute|second|month|year)s?$');
        IF part IS NOT NULL THEN
            amount := part[1]::double precision;
            IF abs(amount) >= (CASE part[2] WHEN 'day' THEN 5373485 WHEN 'hour' THEN 1.2897e8
                                           WHEN 'minute' THEN 7.7379e9 WHEN 'second' THEN 4.6427e11
                                           WHEN 'month' THEN 176546 ELSE 14713 END) THEN
                RETURN NULL;
            END IF;
            over := 0;
            IF part[2] IN ('month', 'year') THEN
                civil := gp.date_of(days);
                whole := trunc(amount)::bigint * CASE part[2] WHEN 'year' THEN 12 ELSE 1 END;
                amount := (amount - trunc(amount)) * CASE part[2] WHEN 'year' THEN 365 ELSE 30 END;
                whole := civil[1] * 12 + civil[2] - 1 + whole;
                civil[1] := floor(whole / 12.0)::bigint;
                civil[2] := whole - civil[1] * 12 + 1;
                days := gp.days_of(civil[1], civil[2], civil[3]);
                over := greatest(0, days - gp.days_of(civil[1] + civil[2] / 12, civil[2] % 12 + 1, 1) + 1);
                instant := days * 86400000 + ticks + floor(amount * 86400000 + 0.5)::bigint;
            ELSE
                instant := instant + floor(amount * CASE part[2] WHEN 'day' THEN 86400000 WHEN 'hour' THEN 3600000
                                                                 WHEN 'minute' THEN 60000 ELSE 1000 END + 0.5)::bigint;
            END IF;
        ELSIF word = 'floor' THEN
            instant := instant - over * 86400000;
            over := 0;
        ELSIF word = 'ceiling' THEN
            over := 0;
        ELSIF word IN ('start of day', 'start of month', 'start of year') THEN
            civil := gp.date_of(days);
            instant := 86400000 * CASE word WHEN 'start of day' THEN days
                                            WHEN 'start of month' THEN gp.days_of(civil[1], civil[2], 1)
                                            ELSE gp.days_of(civil[1], 1, 1) END;
        ELSIF word COLLATE "C" ~ '^weekday [0-6](\.0*)?$' THEN
            -- 1970-01-01 was a Thursday.
            week_day := ((days + 4) % 7 + 7) % 7;
            instant := instant + ((substr(word, 9, 1)::bigint - week_day + 7) % 7) * 86400000;
        ELSIF word COLLATE "C" ~ '^[+-][0-9]{2}:[0-9]{2}' THEN
            whole := gp.clock_of(substr(word, 2));
            IF whole IS NULL THEN
                RETURN NULL;
            END IF;
            instant := instant + CASE left(word, 1) WHEN '-' THEN -whole ELSE whole END;
        ELSIF word COLLATE "C" ~ '^[+-][0-9]{4}-' THEN
            part := regexp_match(word COLLATE "C",
                '^([+-])([0-9]{4})-([0-9]{2})-([0-9]{2})(?: ([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?))?$');
            IF part IS NULL OR part[3]::integer > 11 OR part[4]::integer > 30 THEN
                RETURN NULL;
            END IF;
            civil := gp.date_of(days);
            whole := (part[2]::bigint * 12 + part[3]::bigint) * CASE part[1] WHEN '-' THEN -1 ELSE 1 END;
            whole := civil[1] * 12 + civil[2] - 1 + whole;
            civil[1] := floor(whole / 12.0)::bigint;
            civil[2] := whole - civil[1] * 12 + 1;
            whole := COALESCE(gp.clock_of(part[5]), CASE WHEN part[5] IS NULL THEN 0 END);
            IF whole IS NULL THEN
                RETURN NULL;
            END IF;
            whole := (part[4]::bigint * 86400000 + whole) * CASE part[1] WHEN '-' THEN -1 ELSE 1 END;
            instant := gp.days_of(civil[1], civil[2], civil[3]) * 86400000 + ticks + whole;
        ELSIF word NOT IN ('localtime', 'utc') THEN
            -- The server's local time is UTC, so those two change nothing.
            RETURN NULL;
        END IF;
        IF instant NOT BETWEEN earliest AND latest THEN
            RETURN NULL;
        END IF;
    END LOOP;
    IF instant IS NULL OR instant NOT BETWEEN earliest AND latest THEN
        RETURN NULL;
    END IF;

    days := floor(instant / 86400000.0)::bigint;
    ticks := instant - days * 86400000;
    civil := gp.date_of(days);
    year_day := days - gp.days_of(civil[1], 1, 1);
    week_day := ((days + 4) % 7 + 7) % 7;
    -- An ISO week belongs to the year of its Thursday.
    first_thursday := days - (week_day + 6) % 7 + 3;
    week_year := (gp.date_of(first_thursday))[1];

    WHILE rest <> '' LOOP
        IF left(rest, 1) <> '%' THEN
            piece := split_part(rest, '%', 1);
            result := result || piece;
            rest := substr(rest, length(piece) + 1);
            CONTINUE;
        END IF;
        whole := ticks / 3600000;
        piece := CASE substr(rest, 2, 1)
            WHEN 'd' THEN lpad(civil[3]::text, 2, '0')
            WHEN 'e' THEN lpad(civil[3]::text, 2, ' ')
            WHEN 'f' THEN lpad((ticks / 1000 % 60)::text, 2, '0') || '.' || lpad((ticks % 1000)::text, 3, '0')
            WHEN 'F' THEN gp.year_text(civil[1]) || '-' || lpad(civil[2]::text, 2, '0') || '-'
                          || lpad(civil[3]::text, 2, '0')
            WHEN 'G' THEN gp.year_text(week_year)
            WHEN 'g' THEN right(gp.year_text(week_year), 2)
            WHEN 'H' THEN lpad(whole::text, 2, '0')
            WHEN 'I' THEN lpad(((whole + 11) % 12 + 1)::text, 2, '0')
            WHEN 'j' THEN lpad((year_day + 1)::text, 3, '0')
            WHEN 'J' THEN (2440587.5 + instant / 86400000.0::double precision)::text
            WHEN 'k' THEN lpad(whole::text, 2, ' ')
            WHEN 'l' THEN lpad(((whole + 11) % 12 + 1)::text, 2, ' ')
            WHEN 'm' THEN lpad(civil[2]::text, 2, '0')
            WHEN 'M' THEN lpad((ticks / 60000 % 60)::text, 2, '0')
            WHEN 'p' THEN CASE WHEN whole < 12 THEN 'AM' ELSE 'PM' END
            WHEN 'P' THEN CASE WHEN whole < 12 THEN 'am' ELSE 'pm' END
            WHEN 'R' THEN lpad(whole::text, 2, '0') || ':' || lpad((ticks / 60000 % 60)::text, 2, '0')
            WHEN 's' THEN floor(instant / 1000.0)::bigint::text
                          || CASE WHEN subsecond THEN '.' || lpad((ticks % 1000)::text, 3, '0') ELSE '' END
            WHEN 'S' THEN lpad((ticks / 1000 % 60)::text, 2, '0')
            WHEN 'T' THEN lpad(whole::text, 2, '0') || ':' || lpad((ticks / 60000 % 60)::text, 2, '0') || ':'
                          || lpad((ticks / 1000 % 60)::text, 2, '0')
            WHEN 'u' THEN ((week_day + 6) % 7 + 1)::text
            WHEN 'U' THEN lpad(((year_day + 7 - week_day) / 7)::text, 2, '0')
            WHEN 'V' THEN lpad(((first_thursday - gp.days_of(week_year, 1, 1)) / 7 + 1)::text, 2, '0')
            WHEN 'w' THEN week_day::text
            WHEN 'W' THEN lpad(((year_day + 7 - (week_day + 6) % 7) / 7)::text, 2, '0')
            WHEN 'Y' THEN gp.year_text(civil[1])
            WHEN '%' THEN '%'
        END;
        IF piece IS NULL THEN
            RETURN NULL;
        END IF;
        result := result || piece;
        rest := substr(rest, 3);
    END LOOP;
    RETURN result;
END
$$;

-- ---------------------------------------------------------------------------------------------------
-- SQLite on our storage: what translated view queries and indexes call (schema/sqlite*.py).
-- jsonb stands for a value whose type varies by row; it holds one number or one string.

-- Numbers as SQLite prints them: integral ones without decimals, a REAL always with some.
CREATE OR REPLACE FUNCTION gp.lite_text(value double precision, is_real boolean DEFAULT false) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE
    WHEN value = trunc(value) AND abs(value) < 1e15
      THEN (value::numeric)::bigint::text || CASE WHEN is_real THEN '.0' ELSE '' END
    WHEN value = trunc(value) AND abs(value) < 9.2e18 AND NOT is_real THEN (value::numeric)::bigint::text
    WHEN value = 'Infinity' THEN 'Inf'
    WHEN value = '-Infinity' THEN '-Inf'
    ELSE value::text END
$$;

CREATE OR REPLACE FUNCTION gp.lite_text(value text[]) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT to_json(value)::text $$;

CREATE OR REPLACE FUNCTION gp.lite_text(value point) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT '{"lon":' || to_json(value[0])::text || ',"lat":' || to_json(value[1])::text || '}'
$$;

-- An unset date is the empty text.
CREATE OR REPLACE FUNCTION gp.lite_date(value timestamptz) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT coalesce(to_char(value AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS"Z"'), '')
$$;

-- Marked as fixed, which to_jsonb() is not for every type, so that indexes may use it.
CREATE OR REPLACE FUNCTION gp.lite_variant(value text) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT to_jsonb(value) $$;
CREATE OR REPLACE FUNCTION gp.lite_variant(value double precision) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT to_jsonb(value) $$;

-- Back from text, where a query had to go through text (UNION, DISTINCT); what is unreadable is unset.
CREATE OR REPLACE FUNCTION gp.lite_timestamp(value text) RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
  IF value ~ '^\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d(\.\d+)?Z?)?$' THEN
    RETURN (rtrim(value, 'Z') || '+00')::timestamptz(3);
  END IF;
  RETURN NULL;
EXCEPTION WHEN data_exception THEN
  RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION gp.lite_document(value text) RETURNS json
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
  RETURN value::json;
EXCEPTION WHEN data_exception THEN
  RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION gp.lite_list(value text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE document json := gp.lite_document(value);
BEGIN
  IF coalesce(value, '') = '' THEN
    RETURN '{}';
  ELSIF json_typeof(document) = 'array' THEN
    RETURN ARRAY(SELECT member FROM json_array_elements_text(document) AS member WHERE member <> '');
  END IF;
  RETURN ARRAY[value];
END $$;

CREATE OR REPLACE FUNCTION gp.lite_number(value text) RETURNS double precision
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
  -- The longest beginning that is a number; none is 0.
  RETURN coalesce(substring(value FROM '^\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)')::double precision,
    CASE WHEN value IS NOT NULL THEN 0 END);
EXCEPTION WHEN numeric_value_out_of_range THEN
  RETURN CASE WHEN value ~ '[eE]-' THEN 0 WHEN value ~ '^\s*-' THEN '-Infinity' ELSE 'Infinity' END;
END $$;

CREATE OR REPLACE FUNCTION gp.lite_point(value text) RETURNS point
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT point(
    coalesce(gp.lite_number(gp.lite_document(value) ->> 'lon'), 0),
    coalesce(gp.lite_number(gp.lite_document(value) ->> 'lat'), 0))
$$;

-- The value of a json document as SQLite's functions give it: true is 1, arrays and objects are text.
CREATE OR REPLACE FUNCTION gp.lite_value(document json) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
  CASE json_typeof(document)
    WHEN 'string', 'number' THEN RETURN document::jsonb;
    WHEN 'boolean' THEN RETURN to_jsonb((document::text::boolean)::integer);
    WHEN 'object', 'array' THEN RETURN to_jsonb(document::text);
    ELSE RETURN NULL;
  END CASE;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
  -- \u0000, or a number beyond all bounds.
  RETURN to_jsonb(replace(document::text, '\u0000', ''));
END $$;

CREATE OR REPLACE FUNCTION gp.lite_extract(document json, path text[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT gp.lite_value(document #> path) $$;

CREATE OR REPLACE FUNCTION gp.lite_array_length(document json) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE
    WHEN json_typeof(document) = 'array' THEN json_array_length(document)
    WHEN document IS NOT NULL THEN 0 END::double precision
$$;

CREATE OR REPLACE FUNCTION gp.lite_json_type(document json) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE json_typeof(document)
    WHEN 'string' THEN 'text'
    WHEN 'boolean' THEN document::text
    WHEN 'number' THEN CASE WHEN document::text ~ '[.eE]' THEN 'real' ELSE 'integer' END
    ELSE json_typeof(document) END
$$;

-- What json_each() lists; a scalar is a list of itself, NULL an empty one.
CREATE OR REPLACE FUNCTION gp.lite_each(document json)
RETURNS TABLE ("key" jsonb, "value" jsonb, "type" text, "atom" jsonb)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
  CASE json_typeof(document)
    WHEN 'array' THEN
      RETURN QUERY SELECT to_jsonb(place - 1), gp.lite_value(member), gp.lite_json_type(member),
          CASE WHEN json_typeof(member) NOT IN ('array', 'object') THEN gp.lite_value(member) END
        FROM json_array_elements(document) WITH ORDINALITY AS members (member, place);
    WHEN 'object' THEN
      RETURN QUERY SELECT to_jsonb(name), gp.lite_value(member), gp.lite_json_type(member),
          CASE WHEN json_typeof(member) NOT IN ('array', 'object') THEN gp.lite_value(member) END
        FROM json_each(document) AS members (name, member);
    ELSE
      IF document IS NOT NULL THEN
        RETURN QUERY SELECT NULL::jsonb, gp.lite_value(document), gp.lite_json_type(document),
          gp.lite_value(document);
      END IF;
  END CASE;
END $$;

-- The value of a json field of a view made from text (contract, collections 5.11).
CREATE OR REPLACE FUNCTION gp.lite_json(value text) RETURNS json
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
  IF value IN ('null', 'true', 'false') OR value ~ '^[-0-9"\[{]' THEN
    RETURN coalesce(gp.lite_document(value), to_json(value));
  END IF;
  RETURN to_json(value);
END $$;

-- A text that reads as a number becomes one, as beside a numeric column.
CREATE OR REPLACE FUNCTION gp.lite_numeric(value jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN jsonb_typeof(value) = 'string'
      AND value #>> '{}' ~ '^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,2})?\s*$'
    THEN to_jsonb(gp.lite_number(value #>> '{}')) ELSE value END
$$;

-- Numbers before texts; texts by their bytes.
CREATE OR REPLACE FUNCTION gp.lite_compare(one jsonb, other jsonb) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE
    WHEN one IS NULL OR other IS NULL THEN NULL
    WHEN jsonb_typeof(one) <> jsonb_typeof(other) THEN CASE jsonb_typeof(one) WHEN 'number' THEN -1 ELSE 1 END
    WHEN one = other THEN 0
    WHEN jsonb_typeof(one) = 'number' THEN CASE WHEN one < other THEN -1 ELSE 1 END
    WHEN (one #>> '{}') COLLATE "C" < (other #>> '{}') COLLATE "C" THEN -1
    ELSE 1 END
$$;

-- Integers divide to integers; dividing by zero gives NULL.
CREATE OR REPLACE FUNCTION gp.lite_divide(one double precision, other double precision, is_real boolean DEFAULT false)
RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE
    WHEN other = 0 THEN NULL
    WHEN NOT is_real AND one = trunc(one) AND other = trunc(other) THEN trunc(one / other)
    ELSE one / other END
$$;

CREATE OR REPLACE FUNCTION gp.lite_modulo(one double precision, other double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN trunc(other) = 0 OR abs(one) > 1e300 OR abs(other) > 1e300 THEN NULL
    ELSE (trunc(one)::numeric % trunc(other)::numeric)::double precision END
$$;

CREATE OR REPLACE FUNCTION gp.lite_power(base double precision, exponent double precision) RETURNS double precision
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
  RETURN power(base, exponent);
EXCEPTION WHEN data_exception THEN
  RETURN NULL;
END $$;

-- Halves away from zero.
CREATE OR REPLACE FUNCTION gp.lite_round(value double precision, digits integer) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN abs(value) > 1e15 THEN value
    ELSE round(value::numeric, greatest(least(digits, 30), 0))::double precision END
$$;

-- Characters count from 1; a negative start counts from the end, a negative count takes those before it.
CREATE OR REPLACE FUNCTION gp.lite_substr(value text, start integer, count integer DEFAULT 1000000000) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  size integer := length(value);
  first integer := CASE WHEN start < 0 THEN size + start + 1 ELSE start END;
  last integer;
BEGIN
  IF count < 0 THEN
    last := first - 1;
    first := first + count;
  ELSE
    -- Position 0 stands before the first character and uses up one of the count.
    last := first + count - 1;
  END IF;
  first := greatest(first, 1);
  last := least(last, size);
  IF value IS NULL OR start IS NULL OR count IS NULL THEN
    RETURN NULL;
  END IF;
  RETURN CASE WHEN last < first THEN '' ELSE substr(value, first, last - first + 1) END;
END $$;

-- Numbers of characters, rows or digits, and operands of & and |; out of range means the last in range.
CREATE OR REPLACE FUNCTION gp.lite_integer(value double precision) RETURNS integer
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT CASE WHEN abs(value) < 1e9 THEN trunc(value)::integer ELSE 1000000000 * sign(value)::integer END
$$;
CREATE OR REPLACE FUNCTION gp.lite_bits(value double precision) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT CASE WHEN abs(value) < 9e18 THEN trunc(value)::bigint ELSE 9000000000000000000 * sign(value)::bigint END
$$;

-- A column that is neither grouped nor aggregated: that of the first row in the given order.
CREATE OR REPLACE FUNCTION gp.lite_keep(kept anyelement, value anyelement) RETURNS anyelement
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT kept $$;
CREATE OR REPLACE AGGREGATE gp.lite_any(anyelement) (SFUNC = gp.lite_keep, STYPE = anyelement);

CREATE OR REPLACE FUNCTION gp.lite_smaller(one jsonb, other jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT CASE WHEN gp.lite_compare(one, other) <= 0 THEN one ELSE other END
$$;
CREATE OR REPLACE FUNCTION gp.lite_larger(one jsonb, other jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT CASE WHEN gp.lite_compare(one, other) >= 0 THEN one ELSE other END
$$;
CREATE OR REPLACE AGGREGATE gp.lite_min(jsonb) (SFUNC = gp.lite_smaller, STYPE = jsonb);
CREATE OR REPLACE AGGREGATE gp.lite_max(jsonb) (SFUNC = gp.lite_larger, STYPE = jsonb);
