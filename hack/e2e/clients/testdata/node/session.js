// A session of the etcd3 client for Node. It tells what it finds, one line for each finding, so that the same session on
// another system can be compared. Where the world is to change meanwhile it asks ("? what") and goes on when it is
// answered. ENDPOINTS are the members, separated by commas.
'use strict';

const { once } = require('node:events');
const readline = require('node:readline');
const { Etcd3, isRecoverableError } = require('etcd3');

const hosts = process.env.ENDPOINTS.split(',');
const client = new Etcd3({ hosts, dialTimeout: 2000 });
const answers = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

const tell = (...what) => {
  console.log(what.map(w => (typeof w === 'string' ? w : JSON.stringify(w))).join(' '));
  patience.refresh();
};

async function ask(what) {
  console.log(`? ${what}`);
  await answers.next();
  patience.refresh();
}

// patience ends the session when nothing has come about for so long.
const patience = setTimeout(() => {
  console.log('it hangs');
  process.exit(1);
}, 90_000);

// pause lets time pass between two tries.
const pause = ms => new Promise(done => setTimeout(done, ms));

// retry repeats what does no harm when it is done twice, while members come and go.
async function retry(what) {
  for (let tries = 0; ; tries++) {
    try {
      return await what();
    } catch (err) {
      if (tries >= 100 || !(isRecoverableError(err) || /Circuit|cancel|UNAVAILABLE|timed out|leader/i.test(String(err)))) {
        throw err;
      }
      await pause(100);
    }
  }
}

// refused tells how something fails.
async function refused(name, what) {
  try {
    await what();
    tell(name, 'is not refused');
  } catch (err) {
    tell(name, err.constructor.name, err.message);
  }
}

async function kv() {
  await client.put('kv/a').value('1');
  const before = await client.put('kv/a').value('2').getPrevious();
  tell('previous', before.value.toString(), before.version);
  tell('get', await client.get('kv/a').string(), await client.get('kv/none').string());
  for (let i = 0; i < 5; i++) {
    await client.put(`kv/list/${i}`).value(9 - i);
  }
  tell('numbers', await client.getAll().prefix('kv/list/').numbers());
  tell('keys', await client.getAll().prefix('kv/list/').keys());
  tell('sorted', await client.getAll().prefix('kv/list/').sort('Value', 'Ascend').limit(2).strings());
  tell('count', await client.getAll().prefix('kv/list/').count());
  const page = await client.getAll().prefix('kv/list/').limit(2).exec();
  tell('page', page.more, page.count, page.kvs.length);
  tell('range', await client.getAll().inRange({ start: 'kv/list/1', end: 'kv/list/3' }).strings());
  tell('deleted', (await client.delete().prefix('kv/list/')).deleted);
  const ns = client.namespace('ns/');
  await ns.put('a').value('inside');
  tell('namespace', await client.get('ns/a').string(), await ns.getAll().strings());
  await refused('future', () => client.get('kv/a').revision(1e12).exec());
}

async function txn() {
  const won = await client.if('kv/a', 'Value', '==', '2').and('kv/none', 'Version', '==', 0)
    .then(client.put('txn/a').value('then'), client.get('kv/a')).else(client.put('txn/a').value('else')).commit();
  tell('txn', won.succeeded, won.responses.length, await client.get('txn/a').string());
  const lost = await client.if('kv/a', 'Mod', '==', 0).then(client.delete().key('txn/a')).else(client.get('txn/a')).commit();
  tell('txn', lost.succeeded, lost.responses[0].response_range.kvs[0].value.toString());
  await client.put('stm/a').value(10);
  await Promise.all(Array.from({ length: 5 }, () =>
    client.stm({ retries: 50 }).transact(async tx => {
      const n = await tx.get('stm/a').number();
      await tx.put('stm/a').value(n + 1);
    })));
  tell('stm', await client.get('stm/a').number());
}

// watch hears every write once and in order, while each member is killed and comes back.
async function watch() {
  const watcher = await client.watch().prefix('watch/').withPreviousKV().create();
  const heard = [];
  watcher.on('put', (now, before) => heard.push([now.value.toString(), before ? before.value.toString() : '-']));
  watcher.on('delete', now => heard.push(['deleted', now.key.toString()]));
  let next = 0;
  const write = async () => {
    for (let i = 0; i < 10; i++, next++) {
      const version = next;
      await retry(() => client.if('watch/key', 'Version', '==', version).then(client.put('watch/key').value(version)).commit());
    }
  };
  await write();
  for (let i = 0; i < hosts.length; i++) {
    await ask(`kill ${i}`);
    await write();
    await ask(`start ${i}`);
    await write();
  }
  await retry(() => client.delete().key('watch/key').exec());
  for (let tries = 0; tries < 200 && heard.at(-1)?.[0] !== 'deleted'; tries++) {
    await pause(50);
  }
  const want = Array.from({ length: next }, (_, i) => [`${i}`, i === 0 ? '-' : `${i - 1}`]).concat([['deleted', 'watch/key']]);
  tell('watch', next, 'writes', JSON.stringify(heard) === JSON.stringify(want) ? 'heard once and in order' : heard);
  await watcher.cancel();
}

// lease is kept alive across a change of leader.
async function lease() {
  const held = client.lease(5);
  let lost = null;
  held.on('lost', err => { lost = err; });
  const established = once(held, 'keepaliveEstablished');
  await held.put('lease/key').value('held');
  await established;
  await ask('move the leader');
  for (let beats = 0; beats < 2;) {
    await once(held, 'keepaliveSucceeded');
    beats++;
  }
  await ask('kill the leader');
  for (let beats = 0; beats < 3;) {
    await once(held, 'keepaliveSucceeded');
    beats++;
  }
  tell('lease', String(lost), await retry(() => client.get('lease/key').string()));
  await ask('start the leader');
  await retry(() => held.revoke());
  tell('revoked', await retry(() => client.get('lease/key').string()));
}

async function locks() {
  const lock = client.lock('lock').ttl(5);
  await lock.acquire();
  await refused('second', () => client.lock('lock').ttl(5).acquire());
  await lock.release();
  tell('lock', await client.lock('lock').do(() => 'done'));
}

async function election() {
  const election = client.election('election', 5);
  const observer = await election.observe();
  const seen = [];
  observer.on('change', who => seen.push(who));
  const first = election.campaign('first');
  await first.wait();
  const second = election.campaign('second');
  const won = second.wait();
  await second.getCampaignKey();
  tell('leader', await election.leader());
  await first.proclaim('first still');
  tell('leader', await election.leader());
  await first.resign();
  await won;
  tell('leader', await election.leader());
  for (let tries = 0; tries < 200 && seen.at(-1) !== 'second'; tries++) {
    await pause(50);
  }
  tell('seen', seen.at(-1));
  await observer.cancel();
  await second.resign();
}

async function cluster() {
  const { members } = await client.cluster.memberList({});
  tell('members', members.length, members.map(m => m.name).sort(), members.map(m => m.isLearner));
  const status = await client.maintenance.status();
  tell('status', members.some(m => m.ID === status.leader), /^3\.7\.\d+$/.test(status.version));
  tell('alarms', (await client.maintenance.alarm({ action: 'Get' })).alarms);
  await client.kv.compact({ revision: status.header.revision, physical: true });
  await refused('compacted', () => client.get('kv/a').revision(2).exec());
  await client.maintenance.defragment();
  tell('defragmented');
}

async function main() {
  for (const part of [kv, txn, cluster, locks, election, watch, lease]) {
    await part();
  }
  tell('done');
}

main().then(() => {
  clearTimeout(patience);
  client.close();
  process.exit(0);
}, err => {
  console.log('failed:', err.stack);
  process.exit(1);
});
