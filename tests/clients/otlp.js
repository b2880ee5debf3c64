// OpenTelemetry's own SDK for JavaScript with its two exporters over HTTP, against a running daemon.
// SPDX-License-Identifier: Apache-2.0
//
// usage: node otlp.js PORT   (NODE_PATH names the folder with the packages)
'use strict'
const assert = require('assert')
const {MeterProvider, PeriodicExportingMetricReader, AggregationTemporality}
  = require('@opentelemetry/sdk-metrics')
const {resourceFromAttributes} = require('@opentelemetry/resources')
const protobuf = require('@opentelemetry/exporter-metrics-otlp-proto')
const json = require('@opentelemetry/exporter-metrics-otlp-http')

const url = `http://127.0.0.1:${Number(process.argv[2])}`

async function ask(path) {
  const answer = await fetch(url + path)
  return answer.status === 200 ? answer.json() : null
}

async function values(series) {
  const found = await ask(`/api/v1/series/${encodeURIComponent(series)}/points`)
  assert.ok(found, `no series ${series}`)
  return found.points.map(([, value]) => value)
}

async function kind(series) {
  return (await ask(`/api/v1/series/${encodeURIComponent(series)}`)).kind
}

// One process's life: all instruments, two exports.
async function run(job, Exporter, options) {
  const exporter = new Exporter({url: `${url}/v1/metrics`, ...options})
  const reader = new PeriodicExportingMetricReader({exporter, exportIntervalMillis: 3600000})
  const provider = new MeterProvider({readers: [reader], resource: resourceFromAttributes(
    {'service.name': job, 'service.namespace': 'test', 'host.name': 'h1', 'process.pid': process.pid})})
  const meter = provider.getMeter('the meter', '1.2')
  const requests = meter.createCounter('http.requests', {unit: '{request}'})
  const queue = meter.createUpDownCounter('queue.length')
  const duration = meter.createHistogram('request.duration', {unit: 's'})
  meter.createObservableGauge('boiler.temp', {unit: 'Cel'}).addCallback((result) => result.observe(21.5, {room: 'ä'}))
  for (const turn of [1, 2]) {
    requests.add(3, {code: 200})
    queue.add(turn === 1 ? 5 : -2)
    duration.record(0.25 * turn)
    await reader.forceFlush()
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  await provider.shutdown() // exports once more
}

async function check(job, delta) {
  const labels = `host_name="h1",job="test/${job}",otel_scope_name="the meter",otel_scope_version="1.2"`
  const counter = `http_requests${delta ? '' : '_total'}{code="200",${labels}}`
  const counted = await values(counter)
  assert.deepStrictEqual(counted.slice(0, 2), delta ? [3, 3] : [3, 6], counter)
  assert.strictEqual(await kind(counter), delta ? 'gauge' : 'counter')
  assert.deepStrictEqual((await values(`queue_length{${labels}}`)).slice(0, 2), [5, 3])
  assert.strictEqual((await values(`boiler_temp_celsius{${labels.replace('otel_scope_version="1.2"',
    'otel_scope_version="1.2",room="ä"')}}`))[0], 21.5)
  assert.deepStrictEqual((await values(`request_duration_seconds_count{${labels}}`)).slice(0, 2),
    delta ? [1, 1] : [1, 2])
  assert.deepStrictEqual((await values(`request_duration_seconds_sum{${labels}}`)).slice(0, 2),
    delta ? [0.25, 0.5] : [0.25, 0.75])
}

async function main() {
  const delta = {temporalityPreference: AggregationTemporality.DELTA}
  const gzip = {compression: 'gzip'}
  await run('proto', protobuf.OTLPMetricExporter, {})
  await check('proto', false)
  await run('proto-gzip', protobuf.OTLPMetricExporter, gzip)
  await check('proto-gzip', false)
  console.log('  ok    @opentelemetry/exporter-metrics-otlp-proto')
  await run('json', json.OTLPMetricExporter, {})
  await check('json', false)
  await run('json-delta', json.OTLPMetricExporter, {...gzip, ...delta})
  await check('json-delta', true)
  console.log('  ok    @opentelemetry/exporter-metrics-otlp-http')
}

main().catch((error) => {
  console.error(`FAILED  ${error.stack}`)
  process.exit(1)
})
