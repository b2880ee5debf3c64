/* The handlers of all routes: one line each; the table is in router.c.
 * SPDX-License-Identifier: Apache-2.0
 *
 * `_fast` runs on the network thread and answers from memory or sets the outcome API_DECLINED.
 */
#ifndef API_HANDLERS_H
#define API_HANDLERS_H

#include "api/call.h"

#define HANDLER(name) enum status name(struct call *call, struct error *error) MUST_USE

HANDLER(points_fast);
HANDLER(points_handle);
HANDLER(import_handle);
HANDLER(remote_write_fast);
HANDLER(remote_write_handle);
HANDLER(line_fast);
HANDLER(line_handle);
HANDLER(otlp_handle);
HANDLER(influx_query_fast);
HANDLER(influx_ping_fast);
HANDLER(influx_health_fast);
HANDLER(forecast_get_fast);
HANDLER(forecast_get);
HANDLER(forecast_post);
HANDLER(timeleft_get_fast);
HANDLER(timeleft_get);
HANDLER(accuracy_get);
HANDLER(forecast_metrics_get);
HANDLER(anomalies_get);
HANDLER(nixtla_forecast);
HANDLER(nixtla_model_params);
HANDLER(nixtla_validate);
HANDLER(series_list);
HANDLER(series_one);
HANDLER(series_points);
HANDLER(series_patch);
HANDLER(series_delete);
HANDLER(models_list);
HANDLER(models_one);
HANDLER(models_promote);
HANDLER(models_rollback);
HANDLER(backbones_list);
HANDLER(train_post);
HANDLER(backtest_post);
HANDLER(jobs_list);
HANDLER(jobs_one);
HANDLER(jobs_delete);
HANDLER(status_fast);
HANDLER(healthz_fast);
HANDLER(readyz_fast);
HANDLER(metrics_fast);
HANDLER(prometheus_query);
HANDLER(prometheus_query_range);
HANDLER(prometheus_series);
HANDLER(prometheus_labels);
HANDLER(prometheus_values);
HANDLER(prometheus_metadata);
HANDLER(prometheus_buildinfo);
HANDLER(ui_fast);

#undef HANDLER

#endif
