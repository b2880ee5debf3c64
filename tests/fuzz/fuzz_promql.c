/* Fuzzes PromQL, from the text of a query to its answer, against a memory store of a few series.
 * SPDX-License-Identifier: Apache-2.0
 *
 * The first byte chooses an instant or a range, then follows the query. Each answer must be one of
 * success or a refusal that names the fault; a refusal by parsing must leave nothing behind, which
 * the leak check sees.
 */
#include "tests/fuzz/served.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOW_S     (SERVED_MS / 1000)
#define QUERY_MAX 2000

static enum status fill(struct write_batch *batch, struct error *error)
{
    static const char *const names[] = {"a", "m{a=\"1\"}", "m{a=\"2\",b=\"x\"}", "n{a=\"1\"}"};
    enum status status = STATUS_OK;
    for (size_t s = 0; s < sizeof(names) / sizeof(names[0]) && status == STATUS_OK; s++) {
        uint32_t series = 0;
        status = write_batch_series(batch, names[s], strlen(names[s]), &series, error);
        for (int64_t i = 0; i < 40 && status == STATUS_OK; i++) {
            struct point point = {(NOW_S - 60 * (40 - i)) * 1000, (double)(i % 9)};
            status = write_batch_point(batch, series, point, error);
        }
    }
    return status;
}

/* The form of a query, percent-encoded as a whole. */
static size_t write_form(const uint8_t *data, size_t size, bool range, char *out, size_t room)
{
    static const char digits[] = "0123456789abcdef";
    int head =
        range ? snprintf(out, room, "start=%lld&end=%lld&step=97.5&query=", (long long)NOW_S - 1800,
                         (long long)NOW_S + 1800)
              : snprintf(out, room, "time=%lld&query=", (long long)NOW_S);
    size_t used = (size_t)head;
    for (size_t i = 0; i < size && used + 3 <= room; i++) {
        out[used++] = '%';
        out[used++] = digits[data[i] >> 4];
        out[used++] = digits[data[i] & 15];
    }
    return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char form[3 * QUERY_MAX + 200];
    if (!worker) {
        serve(fill);
    }
    if (size < 2 || size > QUERY_MAX) {
        return 0;
    }
    bool range = data[0] % 2 == 1;
    size_t length = write_form(data + 1, size - 1, range, form, sizeof(form));
    struct api_response response = {0};
    struct api_request request = {
        .method = API_POST,
        .path = range ? "/prometheus/api/v1/query_range" : "/prometheus/api/v1/query",
        .query = "",
        .content_type = "application/x-www-form-urlencoded",
        .body = form,
        .body_length = length,
        .request_id = "fuzz",
        .response = &response,
    };
    if (api_handle(worker, &request, &response) != API_DONE || !response.body ||
        (response.status != 200 && response.status != 400 && response.status != 422)) {
        abort();
    }
    bool success = strncmp(response.body, "{\"status\":\"success\"", 19) == 0;
    if (success != (response.status == 200)) {
        abort();
    }
    api_response_release(&response);
    return 0;
}
