// InfluxDB's own JavaScript clients, versions 1 and 2, with their defaults against a running daemon.
// SPDX-License-Identifier: Apache-2.0
//
// usage: node influx.js PORT   (NODE_PATH names the folder with the clients)
'use strict'
const assert = require('assert')
const Influx = require('influx')
const {InfluxDB, Point, HttpError} = require('@influxdata/influxdb-client')

const port = Number(process.argv[2])
const url = `http://127.0.0.1:${port}`
const base = Math.floor(Date.now() / 60000) * 60000 - 3600000

async function stored(series) {
  const answer = await fetch(`${url}/api/v1/series/${encodeURIComponent(series)}/points`)
  assert.strictEqual(answer.status, 200, series)
  return (await answer.json()).points
}

async function version1() {
  const influx = new Influx.InfluxDB({host: '127.0.0.1', port, database: 'any'})
  const [host] = await influx.ping(5000)
  assert.ok(host.online && host.version, 'ping')
  await influx.getDatabaseNames()
  await influx.createDatabase('any "quoted"; name')
  await influx.writePoints([
    {measurement: 'boiler', tags: {site: 'a,b', 'my key': 'x=y'}, timestamp: new Date(base),
      fields: {temp: 21.5, state: 'on "air"', ok: true}},
    {measurement: 'boiler', tags: {site: 'a,b', 'my key': 'x=y'}, timestamp: new Date(base + 1000),
      fields: {temp: -3}}
  ])
  assert.deepStrictEqual(await stored('boiler_temp{my_key="x=y",site="a,b"}'),
    [[base, 21.5], [base + 1000, -3]])
  await assert.rejects(influx.query('select * from cpu'), /error parsing query/)
}

async function version2() {
  const api = new InfluxDB({url, token: 'any'}).getWriteApi('any', 'any', 'ms',
    {maxRetries: 0, gzipThreshold: 100, writeFailed: () => undefined})
  for (let i = 0; i < 100; i++) {
    api.writePoint(new Point('v2 room').tag('site', 'ä b').floatField('temp', i + 0.5).intField('n', i)
      .uintField('u', i).stringField('note', 'two\nlines').booleanField('ok', true)
      .timestamp(base + i * 1000))
  }
  await api.close()
  const wanted = Array.from({length: 100}, (_, i) => [base + i * 1000, i + 0.5])
  assert.deepStrictEqual(await stored('v2 room_temp{site="ä b"}'), wanted)
  assert.strictEqual((await stored('v2 room_u{site="ä b"}')).length, 100)
  let failure
  const broken = new InfluxDB({url, token: 'any'}).getWriteApi('any', 'any', 'ms',
    {maxRetries: 0, writeFailed: (error) => { failure = error; return Promise.resolve() }})
  broken.writeRecords(['v2 good=1', 'v2 bad'])
  await broken.close().catch(() => undefined)
  assert.ok(failure instanceof HttpError && failure.statusCode === 400, String(failure))
  assert.match(failure.message, /line 2: unable to parse/)
  assert.strictEqual((await stored('v2_good')).length, 1)
}

async function main() {
  await version1()
  console.log('  ok    influx (version 1)')
  await version2()
  console.log('  ok    @influxdata/influxdb-client (version 2)')
}

main().catch((error) => {
  console.error(`FAILED  ${error.message}`)
  process.exit(1)
})
