/* The lists of hashed attention: tokens sorted by bucket, and which of them an entry sees.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "model/ops/lsh.h"

#include "base/size.h"

#include <math.h>
#include <string.h>

size_t lsh_list_count(const struct lsh_kept *kept)
{
    return kept->causal ? kept->lsh.rounds + 1 : 1;
}

size_t lsh_list_words(const struct lsh_kept *kept)
{
    size_t entries = kept->causal ? kept->length : kept->lsh.rounds * kept->length;
    /* from, to, key, bucket (the last two with a copy of the last chunk in front), chunk, starts */
    return kept->causal ? 3 * entries + kept->lsh.buckets + 1 : 7 * entries + kept->lsh.buckets + 1;
}

size_t lsh_list_tile_keys(const struct lsh_kept *kept)
{
    const struct lsh *lsh = &kept->lsh;
    if (kept->causal) {
        size_t reach = lsh->window > lsh->local ? lsh->window : lsh->local;
        return smaller(kept->length, LSH_TILE + smaller(reach, kept->length));
    }
    size_t entries = lsh->rounds * kept->length;
    return smaller(2 * entries, LSH_TILE + 3 * smaller(lsh->chunk, entries));
}

/* order[T] = the tokens sorted by (bucket, t); start[buckets + 1] = where each bucket begins. */
static void sort_by_bucket(const uint16_t *bucket, size_t length, size_t buckets, uint32_t *start,
                           uint32_t *order)
{
    memset(start, 0, (buckets + 1) * sizeof(*start));
    for (size_t t = 0; t < length; t++) {
        start[bucket[t] + 1]++;
    }
    for (size_t b = 0; b < buckets; b++) {
        start[b + 1] += start[b];
    }
    for (size_t t = 0; t < length; t++) {
        order[start[bucket[t]]++] = (uint32_t)t;
    }
    memmove(start + 1, start, buckets * sizeof(*start)); /* each had moved on to its end */
    start[0] = 0;
}

/* Every token and the latest `local` ones before it; each round would see them, so they count as
 * often. */
static void make_local(const struct lsh_kept *kept, uint32_t *from, uint32_t *to, uint32_t *key,
                       struct lsh_list *list)
{
    for (size_t t = 0; t < kept->length; t++) {
        key[t] = (uint32_t)t;
        from[t] = (uint32_t)(t - smaller(t, kept->lsh.local));
        to[t] = (uint32_t)t;
    }
    list->near = 0;
    list->bias = (real)log((double)kept->lsh.rounds);
}

/* A bucket's tokens in order of time see the latest `window` before them, without the local ones.
 */
static void make_round(const struct lsh_kept *kept, const uint16_t *bucket, uint32_t *from,
                       uint32_t *to, uint32_t *key, struct lsh_list *list)
{
    uint32_t *start = key + kept->length;
    sort_by_bucket(bucket, kept->length, kept->lsh.buckets, start, key);
    for (size_t i = 0; i < kept->length; i++) {
        size_t earlier = i - start[bucket[key[i]]];
        from[i] = (uint32_t)(i - smaller(earlier, kept->lsh.window));
        to[i] = (uint32_t)i;
    }
    list->near = kept->lsh.local;
    list->bias = 0;
}

/* All rounds one after the other, in chunks. A copy of the last chunk lies in front of the first.
 */
static void make_chunks(const struct lsh_kept *kept, const uint16_t *buckets, uint32_t *words,
                        struct lsh_counts *counts, struct lsh_list *list)
{
    const struct lsh *lsh = &kept->lsh;
    size_t length = kept->length;
    size_t n = lsh->rounds * length;
    size_t chunks = (n + lsh->chunk - 1) / lsh->chunk;
    size_t lead = n - (chunks - 1) * lsh->chunk;
    uint32_t *from = words;
    uint32_t *to = words + n;
    uint32_t *key = words + 2 * n;
    uint32_t *bucket = words + 4 * n;
    uint32_t *chunk = words + 6 * n;
    for (size_t r = 0; r < lsh->rounds; r++) {
        uint32_t *order = key + lead + r * length;
        sort_by_bucket(buckets + r * length, length, lsh->buckets, words + 7 * n, order);
        for (size_t i = 0; i < length; i++) {
            size_t place = r * length + i;
            bucket[lead + place] = (uint32_t)(r * lsh->buckets + buckets[r * length + order[i]]);
            chunk[r * length + order[i]] = (uint32_t)(place / lsh->chunk);
        }
    }
    memmove(key, key + n, lead * sizeof(*key));
    memmove(bucket, bucket + n, lead * sizeof(*bucket));
    for (size_t i = 0; i < n; i++) {
        size_t own = i / lsh->chunk;
        from[i] = (uint32_t)(own == 0 ? 0 : lead + (own - 1) * lsh->chunk);
        to[i] = (uint32_t)(lead + smaller((own + 1) * lsh->chunk, n));
    }
    *counts = (struct lsh_counts){
        .rounds = lsh->rounds,
        .length = length,
        .chunks = chunks,
        .chunk = chunk,
        .bucket = lsh->within ? buckets : NULL,
    };
    list->entries = n;
    list->query = key + lead;
    list->query_bucket = lsh->within ? bucket + lead : NULL;
    list->key_bucket = lsh->within ? bucket : NULL;
    list->counts = lsh->unique ? counts : NULL;
    list->masked = lsh->masked;
    list->near = 0;
    list->bias = 0;
}

void lsh_list_make(const struct lsh_kept *kept, const uint16_t *buckets, size_t number,
                   uint32_t *words, struct lsh_counts *counts, struct lsh_list *list)
{
    size_t n = kept->causal ? kept->length : kept->lsh.rounds * kept->length;
    uint32_t *from = words;
    uint32_t *to = words + n;
    uint32_t *key = words + 2 * n;
    list->entries = n;
    list->from = from;
    list->to = to;
    list->key = key;
    list->query = key;
    list->masked = true;
    if (!kept->causal) {
        make_chunks(kept, buckets, words, counts, list);
    } else if (number == 0) {
        make_local(kept, from, to, key, list);
    } else {
        make_round(kept, buckets + (number - 1) * kept->length, from, to, key, list);
    }
}
