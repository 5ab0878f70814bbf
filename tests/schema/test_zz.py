import json, sqlite3, importlib.util, math
spec=importlib.util.spec_from_file_location('tv','/work/main/tests/schema/test_sqlite_views.py'); m=importlib.util.module_from_spec(spec); spec.loader.exec_module(m)
both=m.both
from groundplane.schema.sqlite import *
async def test_x(both):
    same=diff=0; seen=set()
    for n,(q,sql) in enumerate(json.load(open('/tmp/okq.json'))):
        if q in seen: continue
        seen.add(q)
        try: ref=[dict(r) for r in both.sqlite.execute(q)]; err=None
        except Exception as e: ref=None; err=e
        fields=infer_view_fields(q,both.schema,'v')
        try:
            async with both.db.transaction() as c:
                t=c.transaction(); await t.start()
                try:
                    await c.execute(f'CREATE VIEW v{n} AS {sql}')
                    found=[{f.name:m.plain(f,f.to_wire(f.from_column(r[f.column]))) for f in fields} for r in await c.fetch(f'select * from v{n}')]
                finally: await t.rollback()
        except Exception as e:
            print('PGFAIL', q, '|', e, getattr(e,'__cause__',''), '| sqlite:', err or len(ref)); continue
        if ref is None:
            print('SQLITE FAILS', q,'|', err); continue
        try: w=[{f.name:m.from_sqlite(f,r[f.name]) for f in fields} for r in ref]
        except Exception as e: print('conv',q,e); continue
        if w==found: same+=1
        elif sorted(map(str,w))==sorted(map(str,found)): same+=1
        else: diff+=1; print('DIFF',q,'\n   ',w,'\n   ',found)
    print(same,diff)
