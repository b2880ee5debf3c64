/* forecastd token: access tokens made, listed and revoked in the file of auth.tokens.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "server/command.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/random.h"
#include "server/token_file.h"

#include <stdio.h>
#include <string.h>

#define EXPIRES_MAX_MS (INT64_C(36525) * 86400000) /* a hundred years */

extern char **environ;

static const struct command_option options[] = {
    {"config", "FILE", "Read this configuration file, for auth.tokens."},
    {"set", "KEY=VALUE", "Set one option of the configuration; may repeat."},
    {"tokens", "FILE", "The file of tokens; the same as --set auth.tokens=FILE."},
    {"scope", "SCOPE", "create: read, write, both as read,write, or admin."},
    {"prefix", "P", "create: only series whose name begins with P."},
    {"name", "NAME", "create: what logs call it; default: one is made up."},
    {"expires", "DURATION", "create: from when on it does not hold any more, as 90d."},
};

/* What the words asked for. */
struct wish {
    struct config_sources sources;
    const char *action, *subject; /* "revoke", its name */
    const char *file, *scope, *prefix, *name, *expires;
};

/* The token that is asked for, without its secret. */
static enum status describe(const struct wish *wish, struct token *token, struct error *error)
{
    char made_up[TOKEN_NAME_BYTES];
    uint32_t number;
    int64_t age_ms = 0;
    *token = (struct token){.created_ms = clock_wall_ms() / 1000 * 1000, .expires_ms = INT64_MAX};
    random_secret(&number, sizeof(number));
    snprintf(made_up, sizeof(made_up), "token-%08x", number);
    if (token_set_name(token, wish->name != NULL ? wish->name : made_up, error) != STATUS_OK ||
        token_set_scopes(token, wish->scope, error) != STATUS_OK ||
        (wish->prefix != NULL && token_set_prefix(token, wish->prefix, error) != STATUS_OK)) {
        return error->status;
    }
    if (wish->expires == NULL) {
        return STATUS_OK;
    }
    if (clock_parse_duration(wish->expires, strlen(wish->expires), &age_ms, error) != STATUS_OK) {
        return error_wrap(error, "--expires");
    }
    if (age_ms > EXPIRES_MAX_MS) {
        error_set(error, STATUS_INVALID, "--expires is at most a hundred years: got '%s'",
                  wish->expires);
        return error_hint(error, "Without --expires it holds until it is revoked.");
    }
    token->expires_ms = token->created_ms + age_ms;
    return STATUS_OK;
}

static int make(const struct token *described, const char *path)
{
    char secret[TOKEN_SECRET_BYTES];
    struct error error = {0};
    struct token token = *described;
    token_draw(&token, secret);
    if (token_file_add(path, &token, &error) != STATUS_OK) {
        return command_fail(&error);
    }
    printf("%s\n", secret);
    fprintf(stderr,
            "forecastd: token '%s' is in %s; it is shown only now. A running daemon takes it up "
            "within seconds.\n",
            token.name, path);
    return fflush(stdout) == 0 ? EXIT_DONE : EXIT_FAILED;
}

static int list(const char *path)
{
    struct token_list tokens;
    struct error error = {0};
    struct text out;
    int64_t now_ms = clock_wall_ms();
    if (token_file_read(path, &tokens, &error) != STATUS_OK) {
        return command_fail(&error);
    }
    text_init(&out, (size_t)1 << 20);
    text_add_string(&out, "name,scope,prefix,created,expires,state\n");
    for (size_t i = 0; i < tokens.count; i++) {
        const struct token *token = &tokens.items[i];
        text_add_format(&out, "%s,", token->name);
        text_add_string(&out, token->scopes == (TOKEN_READ | TOKEN_WRITE) ? "\"" : "");
        token_write_scopes(token, &out);
        text_add_string(&out, token->scopes == (TOKEN_READ | TOKEN_WRITE) ? "\"" : "");
        text_add_format(&out, ",%s,", token->prefix);
        text_add_time(&out, token->created_ms);
        text_add_char(&out, ',');
        if (token->expires_ms != INT64_MAX) {
            text_add_time(&out, token->expires_ms);
        }
        text_add_string(&out, token->expires_ms > now_ms ? ",valid\n" : ",expired\n");
    }
    enum status status = text_status(&out, "the list", &error);
    if (status == STATUS_OK) {
        fwrite(out.bytes, 1, out.length, stdout);
    }
    text_release(&out);
    token_list_release(&tokens);
    return status == STATUS_OK && fflush(stdout) == 0 ? EXIT_DONE : EXIT_FAILED;
}

static int revoke(const char *name, const char *path)
{
    struct error error = {0};
    if (token_file_remove(path, name, &error) != STATUS_OK) {
        return command_fail(&error);
    }
    fprintf(stderr, "forecastd: token '%s' is revoked\n", name);
    return EXIT_DONE;
}

/* Whether the words make sense together; says what does not. */
static bool is_clear(const struct command_line *line, const struct wish *wish)
{
    bool create = wish->action != NULL && strcmp(wish->action, "create") == 0;
    bool takes_name = wish->action != NULL && strcmp(wish->action, "revoke") == 0;
    if (!create && !takes_name && (wish->action == NULL || strcmp(wish->action, "list") != 0)) {
        command_usage(line, "say what to do: create, list or revoke");
    } else if (takes_name && wish->subject == NULL) {
        command_usage(line, "say which token: revoke NAME");
    } else if (!takes_name && wish->subject != NULL) {
        command_usage(line, "unexpected argument '%s'", wish->subject);
    } else if (create && wish->scope == NULL) {
        command_usage(line, "say what it may do: --scope read, write or admin");
    } else if (!create && (wish->scope || wish->prefix || wish->name || wish->expires)) {
        command_usage(line, "--scope, --prefix, --name and --expires go with create");
    } else {
        return true;
    }
    return false;
}

/* `token`: to be created. */
static int run(const struct wish *wish, const struct token *token)
{
    struct config config;
    struct error error = {0};
    const char *path = wish->file;
    if (path == NULL) {
        if (config_load(&wish->sources, &config, &error) != STATUS_OK) {
            return command_fail(&error);
        }
        path = config.tokens;
    }
    if (path[0] == '\0') {
        error_set(&error, STATUS_INVALID, "no file of tokens is named");
        error_hint(&error, "Set auth.tokens in the configuration, or pass --tokens FILE.");
        return command_fail(&error);
    }
    if (strcmp(wish->action, "create") == 0) {
        return make(token, path);
    }
    return strcmp(wish->action, "list") == 0 ? list(path) : revoke(wish->subject, path);
}

int command_token(int argc, char **argv)
{
    struct command_line line = {
        .command = "token",
        .synopsis = "create --scope SCOPE [--prefix P] | list | revoke NAME",
        .about = "Makes access tokens, lists and revokes them. The file keeps hashes only; a new "
                 "token is\nprinted once.",
        .options = options,
        .option_count = ARRAY_COUNT(options),
        .argc = argc,
        .argv = argv,
    };
    struct wish wish = {.sources = {.environment = environ}};
    const char **values[] = {NULL,         NULL,       &wish.file,   &wish.scope,
                             &wish.prefix, &wish.name, &wish.expires};
    for (int word; (word = command_next(&line)) != WORD_END;) {
        if (word == WORD_STOP) {
            return command_exit(&line);
        }
        if (word == WORD_PLAIN) {
            if (wish.subject != NULL) {
                return command_usage(&line, "unexpected argument '%s'", line.value);
            }
            *(wish.action == NULL ? &wish.action : &wish.subject) = line.value;
        } else if (values[word] != NULL) {
            *values[word] = line.value;
        } else if (command_take_source(&line, &wish.sources, options[word].name) != EXIT_DONE) {
            return EXIT_USAGE;
        }
    }
    struct token token = {0};
    struct error error = {0};
    if (!is_clear(&line, &wish)) {
        return EXIT_USAGE;
    }
    if (strcmp(wish.action, "create") == 0 && describe(&wish, &token, &error) != STATUS_OK) {
        return command_usage(&line, "%s%s%s", error.text, error.hint[0] != '\0' ? "\n" : "",
                             error.hint);
    }
    return run(&wish, &token);
}
