/* forecastd serve: the daemon; forecastd healthcheck: is it well.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/command.h"

#include "base/check.h"
#include "server/daemon.h"
#include "server/http_client.h"

#include <stdio.h>
#include <string.h>

extern char **environ;

int command_serve(int argc, char **argv)
{
    static const struct command_option options[] = {
        COMMAND_STORE_OPTIONS,
        {"insecure", NULL, "Allow an address beyond loopback although auth.tokens is not set."},
    };
    struct command_line line = {
        .command = "serve",
        .synopsis = "[--config FILE] [--set KEY=VALUE]... [--insecure]",
        .about = "Runs the daemon in the foreground until SIGTERM. SIGHUP reads the configuration "
                 "again;\n"
                 "'forecastd config --example' prints all options.",
        .options = options,
        .option_count = ARRAY_COUNT(options),
        .argc = argc,
        .argv = argv,
    };
    struct config_sources sources = {.environment = environ};
    struct config config;
    struct error error = {0};
    bool insecure = false;
    for (int word; (word = command_next(&line)) != WORD_END;) {
        if (word == WORD_STOP) {
            return command_exit(&line);
        }
        if (word == WORD_PLAIN) {
            return command_usage(&line, "unexpected argument '%s'", line.value);
        }
        if (strcmp(options[word].name, "insecure") == 0) {
            insecure = true;
        } else if (command_take_source(&line, &sources, options[word].name) != EXIT_DONE) {
            return EXIT_USAGE;
        }
    }
    if (config_load(&sources, &config, &error) != STATUS_OK) {
        return command_fail(&error);
    }
    struct daemon_options daemon = {.config = &config, .insecure = insecure};
    return daemon_run(&daemon, &sources);
}

/* Where a daemon of this configuration answers probes, as a URL from this machine. */
static void url_of(const struct config *config, char *url, size_t capacity)
{
    bool own_port = config->health_listen[0] != '\0';
    const char *listen = own_port ? config->health_listen : config->listen;
    const char *port = strrchr(listen, ':');
    bool any = strncmp(listen, "0.0.0.0:", 8) == 0 || strncmp(listen, "[::]:", 5) == 0;
    bool encrypted = config->tls_cert[0] != '\0' && !own_port;
    snprintf(url, capacity, "http%s://%s%s", encrypted ? "s" : "", any ? "127.0.0.1" : listen,
             any && port != NULL ? port : "");
}

int command_healthcheck(int argc, char **argv)
{
    static const struct command_option options[] = {
        {"config", "FILE",
         "Read this configuration file, for the address; default: FORECASTD_CONFIG."},
        {"set", "KEY=VALUE", "Set one option of the configuration; may repeat."},
        {"url", "URL", "Ask there; default: the address of the configuration."},
        HTTP_CLIENT_OPTIONS,
    };
    struct command_line line = {
        .command = "healthcheck",
        .synopsis = "[--url URL]",
        .about = "Asks GET /healthz; leaves with 0 where the daemon is well, else with 1.",
        .options = options,
        .option_count = ARRAY_COUNT(options),
        .argc = argc,
        .argv = argv,
    };
    struct config_sources sources = {.environment = environ};
    struct config config;
    struct error error = {0};
    struct http_reply reply = {0};
    char url[160] = "";
    struct http_credentials as = {NULL, NULL, false};
    const char *base = NULL;
    for (int word; (word = command_next(&line)) != WORD_END;) {
        if (word == WORD_STOP) {
            return command_exit(&line);
        }
        if (word == WORD_PLAIN) {
            return command_usage(&line, "unexpected argument '%s'", line.value);
        }
        if (strcmp(options[word].name, "url") == 0) {
            base = line.value;
        } else if (http_credentials_take(&as, options[word].name, line.value)) {
            continue;
        } else if (command_take_source(&line, &sources, options[word].name) != EXIT_DONE) {
            return EXIT_USAGE;
        }
    }
    if (base == NULL) {
        if (config_load(&sources, &config, &error) != STATUS_OK) {
            return command_fail(&error);
        }
        url_of(&config, url, sizeof(url));
        base = url;
        if (config.tls_cert[0] != '\0') { /* it is our own: its name does not matter */
            as.authorities = config.tls_cert;
            as.any_name = true;
        }
    }
    struct http_call call = {
        .as = &as, .base = base, .method = "GET", .target = "/healthz", .timeout_ms = 3000};
    if (http_client_call(&call, &reply, &error) != STATUS_OK ||
        http_reply_check(&reply, &error) != STATUS_OK) {
        http_reply_release(&reply);
        return command_fail(&error);
    }
    http_reply_release(&reply);
    return EXIT_DONE;
}
