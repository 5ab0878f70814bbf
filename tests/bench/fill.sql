-- Fills the tables of the benchmark. :rows, :people and :projects are numbers, :first is the id of a person
-- whose password everybody has. An id is the first letter of its kind and the beginning of the md5 of kind and
-- number, as `row_id` in bench_server.py has it, so nobody needs to remember ids. Without the letter one id in three
-- hundred would read as a number, which of real ids one in millions does, and rules compare numbers in another way.

INSERT INTO people (id, email, password, "tokenKey", "emailVisibility", verified)
SELECT 'p' || left(md5('person' || n), 14), 'person' || n || '@example.com', p.password, md5('key' || n) || md5('more' || n),
       true, true
FROM generate_series(0, :people - 1) n, people p WHERE p.id = :first;

INSERT INTO projects (id, name, open, owner, created, updated)
SELECT 'p' || left(md5('project' || n), 14), 'Project ' || n, n % 4 <> 0, 'p' || left(md5('person' || n % :people), 14), now(), now()
FROM generate_series(0, :projects - 1) n;

INSERT INTO posts (id, title, body, category, score, published, owner, created, updated)
SELECT 'p' || left(md5('post' || n), 14), 'Post number ' || n,
       n || ' ' || left(repeat('The quick brown fox jumps over the lazy dog. ', 3), 112),
       (ARRAY['news', 'code', 'food', 'art'])[n % 4 + 1], n * 7919::bigint % 10000, n / :people % 2 = 0,
       'p' || left(md5('person' || n % :people), 14),
       timestamptz '2025-01-01' + n * interval '7.001 s', timestamptz '2025-01-01' + n * interval '7.001 s'
FROM generate_series(0, :rows - 1) n;

INSERT INTO memos (id, title, body, category, score, project, created, updated)
SELECT 'm' || left(md5('memo' || n), 14), 'Memo number ' || n,
       n || ' ' || left(repeat('The quick brown fox jumps over the lazy dog. ', 3), 112),
       (ARRAY['news', 'code', 'food', 'art'])[n % 4 + 1], n * 7919::bigint % 10000,
       'p' || left(md5('project' || n % :projects), 14),
       timestamptz '2025-01-01' + n * interval '7.001 s', timestamptz '2025-01-01' + n * interval '7.001 s'
FROM generate_series(0, least(:rows, 10000) - 1) n;
