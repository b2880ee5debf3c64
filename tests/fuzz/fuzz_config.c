/* Fuzzes the configuration file: what it is printed as has to be read as the same.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Rules of alerts that make no sense are refused after the file was read, and are not compared.
 */
#include "server/config.h"

#include "base/log.h"

#include <stdlib.h>
#include <string.h>

#define PRINTED_MAX ((size_t)1 << 20)

static void read_presets(struct config *config)
{
    static struct config presets;
    static bool known;
    struct error error = {0};
    struct config_sources none = {.file = NULL};
    if (!known && config_load(&none, &presets, &error) != STATUS_OK) {
        abort();
    }
    known = true;
    memcpy(config, &presets, sizeof(presets));
}

static void print(const struct config *config, struct text *out)
{
    text_init(out, PRINTED_MAX);
    config_print_effective(config, out);
    if (out->failed) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct config first, second;
    struct text printed, again;
    struct error error = {0};
    read_presets(&first);
    if (config_read_yaml(&first, "fuzz.yaml", (const char *)data, size, &error) != STATUS_OK) {
        if (error.status == STATUS_OK || error.text[0] == '\0') {
            abort();
        }
        return 0;
    }
    if (alert_rules_check(&first.alerts, &error) != STATUS_OK) {
        return 0;
    }
    print(&first, &printed);
    read_presets(&second);
    if (config_read_yaml(&second, "printed.yaml", printed.bytes, printed.length, &error) !=
        STATUS_OK) {
        log_error("fuzz", "printed configuration is refused", "error=%s", error.text);
        abort();
    }
    print(&second, &again);
    if (printed.length != again.length || memcmp(printed.bytes, again.bytes, again.length) != 0) {
        abort();
    }
    text_release(&printed);
    text_release(&again);
    return 0;
}
