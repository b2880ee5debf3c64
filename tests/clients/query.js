// npm's prometheus-query with its defaults against a running daemon.
// SPDX-License-Identifier: Apache-2.0
//
// usage: node query.js PORT FACTS   (NODE_PATH names the folder with the client; FACTS: {"last": s, "value": n})
'use strict'
const assert = require('assert')
const {PrometheusDriver} = require('prometheus-query')

const {last, value} = JSON.parse(process.argv[3])
const client = new PrometheusDriver({endpoint: `http://127.0.0.1:${process.argv[2]}/prometheus`, baseURL: '/api/v1'})

async function main() {
  const instant = await client.instantQuery('room_temp{site="a"}', new Date(last * 1000))
  assert.strictEqual(instant.resultType, 'vector')
  assert.strictEqual(instant.result.length, 1)
  assert.strictEqual(instant.result[0].metric.toString(), 'room_temp{site="a"}')
  assert.strictEqual(instant.result[0].value.value, value)

  const range = await client.rangeQuery('max by (site) (room_temp)', new Date((last - 3600) * 1000),
    new Date(last * 1000), 60)
  assert.strictEqual(range.resultType, 'matrix')
  assert.deepStrictEqual(range.result.map(one => one.metric.labels.site), ['a', 'b'])
  assert.ok(range.result.every(one => one.values.length === 61))

  const ahead = await client.rangeQuery('{__name__="room_temp:predicted",site="a"}', new Date((last + 60) * 1000),
    new Date((last + 1800) * 1000), 60)
  assert.deepStrictEqual(ahead.result.map(one => one.metric.labels.ml_forecast),
    ['yhat', 'yhat_lower', 'yhat_upper'])
  const [middle, lower, upper] = ahead.result.map(one => one.values.map(each => each.value))
  assert.strictEqual(middle.length, 30)
  assert.ok(middle.every((each, i) => lower[i] <= each && each <= upper[i]))

  const begin = new Date((last - 3600) * 1000)
  const end = new Date(last * 1000)
  assert.strictEqual((await client.series(['room_temp'], begin, end)).length, 2)
  assert.ok((await client.labelNames()).includes('site'))
  assert.deepStrictEqual(await client.labelValues('site'), ['a', 'b'])
  await client.metadata()
  await assert.rejects(client.instantQuery('room_temp{'),
    error => error.httpStatus === 400 && error.prometheus.errorType === 'bad_data')
}

main().catch(error => {
  console.error(error)
  process.exit(1)
})
