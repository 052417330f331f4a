/*
 * Integer kernels for the programs that mpq-plugins generates: C99, integers and shifts, no floats, no
 * allocation, no library but stdint.h. One sample at a time.
 *
 * A generated header defines MPQ_CODE, MPQ_WEIGHT and MPQ_SUM, the types of activations, weights and
 * sums, before it includes this file; programs with other types go into other translation units.
 */
#ifndef MPQ_INTEGERS_H
#define MPQ_INTEGERS_H

#include <stdint.h>

#ifndef MPQ_CODE
#define MPQ_CODE int16_t
#endif
#ifndef MPQ_WEIGHT
#define MPQ_WEIGHT int8_t
#endif
#ifndef MPQ_SUM
#define MPQ_SUM int32_t
#endif

typedef MPQ_CODE mpq_code;
typedef MPQ_WEIGHT mpq_weight;
typedef MPQ_SUM mpq_sum;

#define MPQ_AXES 4

/* Where a value exactly between two integers goes. */
typedef enum { MPQ_HALF_EVEN, MPQ_HALF_UP, MPQ_HALF_AWAY } mpq_rounding;

/*
 * What is done to a sum, one after another, to make it a code:
 *   MPQ_SHIFT        shift right by a, or by per_channel[channel]; left where that is negative
 *   MPQ_SIGNIFICANT  round half to even to a significant bits
 *   MPQ_MULTIPLY     multiply by a
 *   MPQ_DIVIDE       divide by a
 *   MPQ_CLAMP        clamp to a .. b
 */
typedef enum { MPQ_SHIFT, MPQ_SIGNIFICANT, MPQ_MULTIPLY, MPQ_DIVIDE, MPQ_CLAMP } mpq_stage_kind;

typedef struct {
    mpq_stage_kind kind;
    mpq_rounding rounding;
    int64_t a, b;
    const int8_t *per_channel;
} mpq_stage;

/* An image, or a signal of one row: its size, and how far apart neighbours lie in memory. */
typedef struct {
    int32_t rows, columns, channels;
    int32_t row_step, column_step, channel_step;
} mpq_image;

/* A window that moves over an image: its size, stride, dilation, and the padding on the four sides. */
typedef struct {
    int32_t rows, columns;
    int32_t row_stride, column_stride;
    int32_t row_dilation, column_dilation;
    int32_t top, bottom, left, right;
} mpq_window;

/* floor, or floor + 1; below and above: how far the quotient lies from either, in parts of the divisor. */
static inline int64_t mpq_round(int64_t x, int64_t floor, int64_t below, int64_t above, mpq_rounding rounding)
{
    if (below != above)
        return floor + (below > above);
    if (rounding == MPQ_HALF_UP)
        return floor + 1;
    if (rounding == MPQ_HALF_AWAY)
        return floor + (x >= 0);
    return floor + (floor & 1);
}

static inline int64_t mpq_shift(int64_t x, int amount, mpq_rounding rounding)
{
    int64_t floor, below;
    if (amount <= 0)
        return x * ((int64_t)1 << -amount);
    floor = x >= 0 ? x >> amount : ~(~x >> amount);
    below = x - floor * ((int64_t)1 << amount);
    return mpq_round(x, floor, below, ((int64_t)1 << amount) - below, rounding);
}

static inline int64_t mpq_divide(int64_t x, int64_t count, mpq_rounding rounding)
{
    int64_t floor = x >= 0 ? x / count : ~(~x / count);
    int64_t below = x - floor * count;
    return mpq_round(x, floor, below, count - below, rounding);
}

static inline int64_t mpq_significant(int64_t x, int bits)
{
    int extra = 0;
    int64_t magnitude = x < 0 ? -x : x;
    while (magnitude >> (bits + extra))
        extra++;
    return extra ? mpq_shift(x, extra, MPQ_HALF_EVEN) * ((int64_t)1 << extra) : x;
}

static inline int64_t mpq_clamp(int64_t x, int64_t low, int64_t high)
{
    x = x < low ? low : x;
    return x > high ? high : x;
}

static inline mpq_code mpq_requantize(int64_t x, int32_t channel, const mpq_stage *stages, int count)
{
    for (int i = 0; i < count; i++) {
        const mpq_stage *stage = &stages[i];
        switch (stage->kind) {
        case MPQ_SHIFT:
            x = mpq_shift(x, stage->per_channel ? stage->per_channel[channel] : (int)stage->a, stage->rounding);
            break;
        case MPQ_SIGNIFICANT:
            x = mpq_significant(x, (int)stage->a);
            break;
        case MPQ_MULTIPLY:
            x *= stage->a;
            break;
        case MPQ_DIVIDE:
            x = mpq_divide(x, stage->a, stage->rounding);
            break;
        case MPQ_CLAMP:
            x = mpq_clamp(x, stage->a, stage->b);
            break;
        }
    }
    return (mpq_code)x;
}

/* weight: [out channels][window rows][window columns][in channels / groups]; bias: [out channels] */
static inline void mpq_conv(const mpq_code *x, const mpq_image *in, mpq_code *y, const mpq_image *out,
                            const mpq_weight *weight, const int32_t *bias, const mpq_window *window, int32_t groups,
                            const mpq_stage *stages, int count)
{
    int32_t each_in = in->channels / groups, each_out = out->channels / groups;
    for (int32_t o = 0; o < out->channels; o++) {
        const mpq_code *group = x + o / each_out * each_in * in->channel_step;
        const mpq_weight *kernel = weight + (int64_t)o * window->rows * window->columns * each_in;
        for (int32_t r = 0; r < out->rows; r++) {
            for (int32_t c = 0; c < out->columns; c++) {
                mpq_sum sum = bias[o];
                for (int32_t i = 0; i < window->rows; i++) {
                    int32_t row = r * window->row_stride - window->top + i * window->row_dilation;
                    if (row < 0 || row >= in->rows)
                        continue;
                    for (int32_t j = 0; j < window->columns; j++) {
                        int32_t column = c * window->column_stride - window->left + j * window->column_dilation;
                        const mpq_code *at = group + row * in->row_step + column * in->column_step;
                        const mpq_weight *w = kernel + (i * window->columns + j) * each_in;
                        if (column < 0 || column >= in->columns)
                            continue;
                        for (int32_t k = 0; k < each_in; k++)
                            sum += (mpq_sum)at[k * in->channel_step] * w[k];
                    }
                }
                y[r * out->row_step + c * out->column_step + o * out->channel_step] =
                    mpq_requantize(sum, o, stages, count);
            }
        }
    }
}

/* positions: how often the layer is applied, to inputs one after another; weight: [outputs][inputs] */
static inline void mpq_linear(const mpq_code *x, mpq_code *y, int32_t positions, int32_t inputs, int32_t outputs,
                              const mpq_weight *weight, const int32_t *bias, const mpq_stage *stages, int count)
{
    for (int32_t p = 0; p < positions; p++) {
        for (int32_t o = 0; o < outputs; o++) {
            mpq_sum sum = bias[o];
            for (int32_t k = 0; k < inputs; k++)
                sum += (mpq_sum)x[p * inputs + k] * weight[o * inputs + k];
            y[p * outputs + o] = mpq_requantize(sum, o, stages, count);
        }
    }
}

/* a_step, b_step: how far apart neighbours along each axis lie; 0 where an operand is repeated */
static inline void mpq_add(const mpq_code *a, const int32_t a_step[MPQ_AXES], int a_left, const mpq_code *b,
                           const int32_t b_step[MPQ_AXES], int b_left, mpq_code *y, const int32_t size[MPQ_AXES],
                           const mpq_stage *stages, int count)
{
    for (int32_t i = 0; i < size[0]; i++)
        for (int32_t j = 0; j < size[1]; j++)
            for (int32_t k = 0; k < size[2]; k++)
                for (int32_t l = 0; l < size[3]; l++) {
                    mpq_sum left = a[i * a_step[0] + j * a_step[1] + k * a_step[2] + l * a_step[3]];
                    mpq_sum right = b[i * b_step[0] + j * b_step[1] + k * b_step[2] + l * b_step[3]];
                    mpq_sum sum = left * ((mpq_sum)1 << a_left) + right * ((mpq_sum)1 << b_left);
                    *y++ = mpq_requantize(sum, 0, stages, count);
                }
}

static inline void mpq_multiply(const mpq_code *a, const int32_t a_step[MPQ_AXES], const mpq_code *b,
                                const int32_t b_step[MPQ_AXES], mpq_code *y, const int32_t size[MPQ_AXES],
                                const mpq_stage *stages, int count)
{
    for (int32_t i = 0; i < size[0]; i++)
        for (int32_t j = 0; j < size[1]; j++)
            for (int32_t k = 0; k < size[2]; k++)
                for (int32_t l = 0; l < size[3]; l++) {
                    mpq_sum left = a[i * a_step[0] + j * a_step[1] + k * a_step[2] + l * a_step[3]];
                    mpq_sum right = b[i * b_step[0] + j * b_step[1] + k * b_step[2] + l * b_step[3]];
                    *y++ = mpq_requantize(left * right, 0, stages, count);
                }
}

/* matrices one after another: a [rows][inner], b [inner][columns] */
static inline void mpq_matmul(const mpq_code *a, const mpq_code *b, mpq_code *y, int32_t matrices, int32_t rows,
                              int32_t inner, int32_t columns, const mpq_stage *stages, int count)
{
    for (int32_t m = 0; m < matrices; m++, a += rows * inner, b += inner * columns)
        for (int32_t i = 0; i < rows; i++)
            for (int32_t j = 0; j < columns; j++) {
                mpq_sum sum = 0;
                for (int32_t k = 0; k < inner; k++)
                    sum += (mpq_sum)a[i * inner + k] * b[k * columns + j];
                *y++ = mpq_requantize(sum, 0, stages, count);
            }
}

/*
 * The norm along the middle one of three axes. d = x * 2^fraction, less the rounded mean where centered; square: the
 * sum of the squares of x * 2^square_fraction, less its mean, and epsilon, and less what rounding that mean adds; table:
 * 3 * entries roots, for square / 4^e from one up, 4^e its largest power of four.
 */
static inline void mpq_normalize(const mpq_code *x, mpq_code *y, int32_t before, int32_t size, int32_t behind,
                                 int centered, int fraction, int square_fraction, int32_t epsilon, int shift,
                                 const int32_t *table, int32_t entries, int32_t low, int32_t high)
{
    for (int32_t i = 0; i < before; i++)
        for (int32_t j = 0; j < behind; j++) {
            int32_t first = i * size * behind + j;
            int64_t total = 0, mean = 0, finer = 0, rest, square = epsilon, root;
            int exponent = 0;
            for (int32_t k = 0; centered && k < size; k++)
                total += x[first + k * behind];
            if (centered) {
                mean = mpq_divide(total * ((int64_t)1 << fraction), size, MPQ_HALF_UP);
                finer = mpq_divide(total * ((int64_t)1 << square_fraction), size, MPQ_HALF_UP);
                rest = total * ((int64_t)1 << square_fraction) - finer * size;
                square -= (rest * rest + size / 2) / size;
            }
            for (int32_t k = 0; k < size; k++) {
                int64_t d = x[first + k * behind] * ((int64_t)1 << square_fraction) - finer;
                square += d * d;
            }
            square = square < 1 ? 1 : square;
            while (exponent < 15 && square >> (2 * exponent + 2))
                exponent++;
            root = table[((square * entries * 4) >> (2 * exponent + 2)) - entries];
            for (int32_t k = 0; k < size; k++) {
                int64_t d = x[first + k * behind] * ((int64_t)1 << fraction) - mean;
                int64_t code = mpq_shift(d * root, shift + exponent, MPQ_HALF_UP);
                y[first + k * behind] = (mpq_code)mpq_clamp(code, low, high);
            }
        }
}

/* The softmax along the middle one of three axes; table: exponentials by the distance from the largest code. */
static inline void mpq_softmax(const mpq_code *x, mpq_code *y, int32_t before, int32_t size, int32_t behind,
                               int32_t scale, const int32_t *table, int32_t low, int32_t high)
{
    for (int32_t i = 0; i < before; i++)
        for (int32_t j = 0; j < behind; j++) {
            int32_t first = i * size * behind + j, largest = x[first];
            int64_t total = 0;
            for (int32_t k = 1; k < size; k++)
                largest = x[first + k * behind] > largest ? x[first + k * behind] : largest;
            for (int32_t k = 0; k < size; k++)
                total += table[largest - x[first + k * behind]];
            for (int32_t k = 0; k < size; k++) {
                int64_t power = table[largest - x[first + k * behind]];
                y[first + k * behind] = (mpq_code)mpq_clamp(mpq_divide(power * scale, total, MPQ_HALF_UP), low, high);
            }
        }
}

/* kept: sizes of the axes that stay, 1 for the others; summed: the other way round; step: of the input */
static inline void mpq_mean(const mpq_code *x, mpq_code *y, const int32_t kept[MPQ_AXES],
                            const int32_t summed[MPQ_AXES], const int32_t step[MPQ_AXES], const mpq_stage *stages,
                            int count)
{
    for (int32_t i = 0; i < kept[0]; i++)
        for (int32_t j = 0; j < kept[1]; j++)
            for (int32_t k = 0; k < kept[2]; k++)
                for (int32_t l = 0; l < kept[3]; l++) {
                    const mpq_code *at = x + i * step[0] + j * step[1] + k * step[2] + l * step[3];
                    mpq_sum sum = 0;
                    for (int32_t m = 0; m < summed[0]; m++)
                        for (int32_t n = 0; n < summed[1]; n++)
                            for (int32_t o = 0; o < summed[2]; o++)
                                for (int32_t p = 0; p < summed[3]; p++)
                                    sum += at[m * step[0] + n * step[1] + o * step[2] + p * step[3]];
                    *y++ = mpq_requantize(sum, 0, stages, count);
                }
}

static inline void mpq_max_pool(const mpq_code *x, const mpq_image *in, mpq_code *y, const mpq_image *out,
                                const mpq_window *window)
{
    for (int32_t o = 0; o < out->channels; o++)
        for (int32_t r = 0; r < out->rows; r++)
            for (int32_t c = 0; c < out->columns; c++) {
                int32_t largest = INT32_MIN;
                for (int32_t i = 0; i < window->rows; i++)
                    for (int32_t j = 0; j < window->columns; j++) {
                        int32_t row = r * window->row_stride - window->top + i * window->row_dilation;
                        int32_t column = c * window->column_stride - window->left + j * window->column_dilation;
                        int32_t value;
                        if (row < 0 || row >= in->rows || column < 0 || column >= in->columns)
                            continue;
                        value = x[row * in->row_step + column * in->column_step + o * in->channel_step];
                        largest = value > largest ? value : largest;
                    }
                y[r * out->row_step + c * out->column_step + o * out->channel_step] = (mpq_code)largest;
            }
}

/* counts_padding: whether the padding, as zeros, is part of the average; offset: added before, taken off after */
static inline void mpq_average_pool(const mpq_code *x, const mpq_image *in, mpq_code *y, const mpq_image *out,
                                    const mpq_window *window, int counts_padding, int32_t offset,
                                    mpq_rounding rounding)
{
    int32_t above = counts_padding ? window->top : 0, below = in->rows + (counts_padding ? window->bottom : 0);
    int32_t before = counts_padding ? window->left : 0, after = in->columns + (counts_padding ? window->right : 0);
    for (int32_t o = 0; o < out->channels; o++)
        for (int32_t r = 0; r < out->rows; r++)
            for (int32_t c = 0; c < out->columns; c++) {
                int64_t sum = 0, counted = 0;
                for (int32_t i = 0; i < window->rows; i++)
                    for (int32_t j = 0; j < window->columns; j++) {
                        int32_t row = r * window->row_stride - window->top + i;
                        int32_t column = c * window->column_stride - window->left + j;
                        if (row < -above || row >= below || column < -before || column >= after)
                            continue;
                        counted++;
                        if (row < 0 || row >= in->rows || column < 0 || column >= in->columns)
                            continue;
                        sum += x[row * in->row_step + column * in->column_step + o * in->channel_step] + offset;
                    }
                y[r * out->row_step + c * out->column_step + o * out->channel_step] =
                    (mpq_code)(mpq_divide(sum, counted, rounding) - offset);
            }
}

static inline void mpq_clamp_all(const mpq_code *x, mpq_code *y, int32_t size, int32_t low, int32_t high)
{
    for (int32_t i = 0; i < size; i++)
        y[i] = (mpq_code)mpq_clamp(x[i], low, high);
}

static inline void mpq_lookup(const mpq_code *x, mpq_code *y, int32_t size, const mpq_code *table, int32_t first)
{
    for (int32_t i = 0; i < size; i++)
        y[i] = table[x[i] - first];
}

/* rows of width codes of a table, by their numbers */
static inline void mpq_rows(const mpq_code *x, mpq_code *y, int32_t size, int32_t width, const mpq_code *table)
{
    for (int32_t i = 0; i < size; i++)
        for (int32_t j = 0; j < width; j++)
            y[i * width + j] = table[x[i] * width + j];
}

/* blocks of size codes, one after another in x, from y on, distance apart there */
static inline void mpq_copy(const mpq_code *x, mpq_code *y, int32_t blocks, int32_t size, int32_t distance)
{
    for (int32_t i = 0; i < blocks; i++)
        for (int32_t j = 0; j < size; j++)
            y[i * distance + j] = x[i * size + j];
}

/* One axis of mpq_move: output position o is input position u / (insert * repeat), u = o * step - before. */
typedef struct {
    int32_t size, in_size, in_step;
    int32_t before, step, repeat, insert;
} mpq_axis;

/* The input position of an output position, in steps of memory; -1 for a zero. */
static inline int32_t mpq_position(const mpq_axis *axis, int32_t o)
{
    int32_t u = o * axis->step - axis->before;
    if (u < 0 || u % axis->insert != 0)
        return -1;
    u = u / (axis->insert * axis->repeat);
    return u < axis->in_size ? u * axis->in_step : -1;
}

static inline void mpq_move(const mpq_code *x, mpq_code *y, const mpq_axis axes[MPQ_AXES])
{
    for (int32_t i = 0; i < axes[0].size; i++)
        for (int32_t j = 0; j < axes[1].size; j++)
            for (int32_t k = 0; k < axes[2].size; k++)
                for (int32_t l = 0; l < axes[3].size; l++) {
                    int32_t a = mpq_position(&axes[0], i), b = mpq_position(&axes[1], j);
                    int32_t c = mpq_position(&axes[2], k), d = mpq_position(&axes[3], l);
                    *y++ = a < 0 || b < 0 || c < 0 || d < 0 ? 0 : x[a + b + c + d];
                }
}

#endif
