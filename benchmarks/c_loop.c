/* Loss and gradient of a fit with `matching="nearest"`, loss_method 1 and rotation "mu", written out by hand: the arithmetic of
   sting/core, in reverse mode, one evaluation after the other on one core. Compiled and called by c_loop.py, which checks its
   values against those of the package and times both. */

#include <math.h>
#include <string.h>

enum { MOST_POINTS = 1024, MOST_SAMPLES = 4096, N_NEWTON = 5, N_PARAMETERS = 10, N_NAMED = 12 };
enum { R0, THETA0, PHI0, V_R0, MU, MASS, INC, PA, RMIN, V_LSR, RC, OMEGA };  /* NAMED_PARAMETERS */

typedef struct {
    int n_points, n_samples;
    double gm_sun, hertz, largest_mu, largest_rmin, distance;
    const double *points, *sigma, *grid;  /* (n_points, 3), (n_points, 3), (n_samples) */
    const double *free, *fixed, *offset, *scale, *sharpness, *has_lower, *has_upper;
    const double *mean, *inverse_sigma, *period;
} Problem;

/* Constants of a path as it is seen on the sky, and in the same form the derivatives of the loss with respect to them. */
typedef struct {
    double r0, speed, nu, root_lam, lam, kappa, w_end, v_lsr, sky[3][2];
} Path;

/* A place of the path: (RA, Dec, velocity), and the first two derivatives with respect to w. */
typedef struct {
    double c2, twice_sc, s2, d, n, dt, pull, position[2], velocity[2], d_position[2], d_velocity[2];
    double model[3], tangent[3], second[3];
} Place;

static double wrap(double x, double period) { return period > 0 ? x - period * rint(x / period) : x; }

static double corner(double x, double sharpness, double *slope)
{
    double e = exp(-sharpness * fabs(x));
    *slope = (x >= 0 ? 1 : e) / (1 + e);
    return fmax(x, 0) + log1p(e) / sharpness;
}

static void project(const Path *path, const double position[2], const double velocity[2], double out[3])
{
    out[0] = path->sky[0][0] * position[0] + path->sky[0][1] * position[1];
    out[1] = path->sky[1][0] * position[0] + path->sky[1][1] * position[1];
    out[2] = path->sky[2][0] * velocity[0] + path->sky[2][1] * velocity[1];
}

/* What is there without derivatives: for the samples among which the search starts. */
static void observe(const Path *path, double w, Place *at)
{
    double c = cos(w), s = sin(w), kappa = path->kappa, k = path->root_lam * kappa;
    at->c2 = c * c, at->s2 = s * s, at->twice_sc = 2 * s * c;
    at->d = at->c2 + k * k * at->s2;
    at->n = at->c2 + path->nu * kappa * at->twice_sc + (2 - path->lam) * kappa * kappa * at->s2;
    at->position[0] = path->r0 * (at->c2 - k * k * at->s2) / at->n;
    at->position[1] = path->r0 * k * at->twice_sc / at->n;
    at->velocity[0] = -path->speed * (path->nu + kappa * at->twice_sc / at->d);
    at->velocity[1] = path->speed * path->root_lam * (1 - 2 * kappa * kappa * at->s2 / at->d);
    project(path, at->position, at->velocity, at->model);
    at->model[2] += path->v_lsr;
}

static void observe_with_derivatives(const Path *path, double w, Place *at)
{
    observe(path, w, at);
    double kappa = path->kappa, k = path->root_lam * kappa, t = at->twice_sc, twice = 2 * (at->c2 - at->s2);
    double x = at->c2 - k * k * at->s2, y = k * t, d_d = (k * k - 1) * t;
    double d_n = -t + path->nu * kappa * twice + (2 - path->lam) * kappa * kappa * t;
    at->dt = 2 * kappa * path->r0 / path->speed * at->d / (at->n * at->n);
    at->pull = -2 * kappa * path->speed / (at->d * at->d);
    double log_dt = d_d / at->d - 2 * d_n / at->n, log_pull = -2 * d_d / at->d;
    double dd_position[2], dd_velocity[2];
    at->d_velocity[0] = at->pull * x, at->d_velocity[1] = at->pull * y;
    dd_velocity[0] = at->pull * (log_pull * x - (1 + k * k) * t), dd_velocity[1] = at->pull * (log_pull * y + k * twice);
    for (int i = 0; i < 2; i++) {
        at->d_position[i] = at->velocity[i] * at->dt;
        dd_position[i] = (at->d_velocity[i] + at->velocity[i] * log_dt) * at->dt;
    }
    project(path, at->d_position, at->d_velocity, at->tangent);
    project(path, dd_position, dd_velocity, at->second);
}

/* Coordinate of the place nearest to a point: the best sample, then Newton's method between its neighbours. */
static double nearest(const Problem *p, const Path *path, const double (*samples)[3], const double *point, const double *weight)
{
    int closest = 0, last = p->n_samples - 1;
    double least = INFINITY;
    for (int j = 0; j <= last; j++) {
        double squared = 0;
        for (int i = 0; i < 3; i++) squared += (samples[j][i] - point[i]) * (samples[j][i] - point[i]) * weight[i];
        if (squared < least) least = squared, closest = j;
    }
    double u = p->grid[closest], low = p->grid[closest ? closest - 1 : 0], high = p->grid[closest < last ? closest + 1 : last];
    for (int step = 0; step < N_NEWTON; step++) {
        Place at;
        double slope = 0, curvature = 0;
        observe_with_derivatives(path, u * path->w_end, &at);
        for (int i = 0; i < 3; i++) {
            slope += weight[i] * (at.model[i] - point[i]) * at.tangent[i];
            curvature += weight[i] * (at.tangent[i] * at.tangent[i] + (at.model[i] - point[i]) * at.second[i]);
        }
        slope *= path->w_end, curvature *= path->w_end * path->w_end;
        double change = curvature > 0 ? -slope / curvature : -copysign((high - low) / 2, slope);
        u = fmin(fmax(u + change, low), high);
    }
    return u;
}

/* Add to ``bar`` what the derivatives with respect to the model and its tangent at a place give for the path. */
static void pull_back(const Path *path, const Place *at, const double model[3], const double tangent[3], Path *bar)
{
    double kappa = path->kappa, k = path->root_lam * kappa, t = at->twice_sc, d = at->d, n = at->n, s2 = at->s2;
    double x = at->c2 - k * k * s2, y = k * t, position[2], velocity[2], d_position[2], d_velocity[2];
    for (int j = 0; j < 2; j++) {
        position[j] = path->sky[0][j] * model[0] + path->sky[1][j] * model[1];
        velocity[j] = path->sky[2][j] * model[2];
        d_position[j] = path->sky[0][j] * tangent[0] + path->sky[1][j] * tangent[1];
        d_velocity[j] = path->sky[2][j] * tangent[2];
        bar->sky[0][j] += model[0] * at->position[j] + tangent[0] * at->d_position[j];
        bar->sky[1][j] += model[1] * at->position[j] + tangent[1] * at->d_position[j];
        bar->sky[2][j] += model[2] * at->velocity[j] + tangent[2] * at->d_velocity[j];
        velocity[j] += d_position[j] * at->dt;
    }
    bar->v_lsr += model[2];
    double dt = d_position[0] * at->velocity[0] + d_position[1] * at->velocity[1];
    double pull = d_velocity[0] * x + d_velocity[1] * y;
    double along = velocity[0] * -path->speed, across = velocity[1] * path->speed;  /* of the brackets in the velocity */
    double x_bar = position[0] * path->r0 / n + d_velocity[0] * at->pull;
    double y_bar = position[1] * path->r0 / n + d_velocity[1] * at->pull;
    double size = position[0] * at->position[0] + position[1] * at->position[1];
    double n_bar = -size / n - 2 * dt * at->dt / n;
    double d_bar = dt * at->dt / d - 2 * pull * at->pull / d - along * kappa * t / (d * d)
                   + across * path->root_lam * 2 * kappa * kappa * s2 / (d * d);
    double k_bar = (d_bar - x_bar) * 2 * k * s2 + y_bar * t;
    bar->r0 += (size + dt * at->dt) / path->r0;
    bar->speed += (velocity[0] * at->velocity[0] + velocity[1] * at->velocity[1] - dt * at->dt + pull * at->pull) / path->speed;
    bar->nu += along + n_bar * kappa * t;
    bar->lam -= n_bar * kappa * kappa * s2;
    bar->root_lam += across * (1 - 2 * kappa * kappa * s2 / d) + k_bar * kappa;
    bar->kappa += along * t / d - across * path->root_lam * 4 * kappa * s2 / d + (dt * at->dt + pull * at->pull) / kappa
                  + n_bar * (path->nu * t + (2 - path->lam) * 2 * kappa * s2) + k_bar * path->root_lam;
}

/* Chi2 of all points, and its derivatives with respect to the constants of the path. */
static double chi2(const Problem *p, const Path *path, const double (*data)[4], Path *bar)
{
    static double samples[MOST_SAMPLES][3];
    double total = 0;
    for (int j = 0; j < p->n_samples; j++) {
        Place at;
        observe(path, p->grid[j] * path->w_end, &at);
        memcpy(samples[j], at.model, sizeof samples[j]);
    }
    for (int j = 0; j < p->n_points; j++) {
        const double *point = p->points + 3 * j, *sigma = p->sigma + 3 * j;
        double weight[3], model[3], tangent[3] = {0}, slope = 0, curvature = 0;
        for (int i = 0; i < 3; i++) weight[i] = 1 / (sigma[i] * sigma[i]);
        double u = nearest(p, path, (const double (*)[3]) samples, point, weight);
        Place at;
        observe_with_derivatives(path, u * path->w_end, &at);
        double r = hypot(at.model[0], at.model[1]);
        double delta[3] = {
            (data[j][0] - r) / data[j][2],
            wrap(data[j][1] - atan2(at.model[1], at.model[0]), 2 * M_PI) / data[j][3],
            (point[2] - at.model[2]) / sigma[2],
        };
        for (int i = 0; i < 3; i++) total += delta[i] * delta[i];
        double radial = -2 * delta[0] / data[j][2] / r, polar = -2 * delta[1] / data[j][3] / (r * r);
        model[0] = radial * at.model[0] - polar * at.model[1];
        model[1] = radial * at.model[1] + polar * at.model[0];
        model[2] = -2 * delta[2] / sigma[2];
        for (int i = 0; i < 3; i++) {
            slope += weight[i] * (at.model[i] - point[i]) * at.tangent[i];
            curvature += weight[i] * (at.tangent[i] * at.tangent[i] + (at.model[i] - point[i]) * at.second[i]);
        }
        if (u > 0 && u < 1 && curvature > 0) {  /* the place moves along with the path, by the implicit function theorem */
            double moves = 0;
            for (int i = 0; i < 3; i++) moves -= model[i] * at.tangent[i];
            moves /= curvature;
            for (int i = 0; i < 3; i++) {
                model[i] += moves * weight[i] * at.tangent[i];
                tangent[i] = moves * weight[i] * (at.model[i] - point[i]);
            }
        }
        for (int i = 0; i < 3; i++) bar->w_end += u * (model[i] * at.tangent[i] + tangent[i] * at.second[i]);
        pull_back(path, &at, model, tangent, bar);
    }
    return total;
}

static double evaluate(const Problem *p, const double (*data)[4], const double *x, double *gradient)
{
    double value[N_NAMED], bar[N_NAMED] = {0}, d_value[N_PARAMETERS], total = 0;
    for (int i = 0; i < N_PARAMETERS; i++) {
        double y = x[i], slope = 1, bend;
        if (p->has_lower[i] > 0) y = corner(x[i], p->sharpness[i], &slope);
        if (p->has_upper[i] > 0) y -= corner(x[i] - 1, p->sharpness[i], &bend), slope -= bend;
        value[i] = p->free[i] > 0 ? p->offset[i] + p->scale[i] * y : p->fixed[i];
        d_value[i] = p->free[i] > 0 ? p->scale[i] * slope : 0;
    }
    double r0 = value[R0], mass = value[MASS], v_r0 = value[V_R0], mu = value[MU];
    value[RC] = mu * r0;
    value[OMEGA] = sqrt(mu * p->gm_sun * mass / (r0 * r0 * r0)) * p->hertz;
    for (int i = 0; i < N_NAMED; i++) {
        double delta = wrap(value[i] - p->mean[i], p->period[i]) * p->inverse_sigma[i];
        total += delta * delta;
        bar[i] += 2 * delta * p->inverse_sigma[i];
    }
    double beyond = 100 * fmax(mu / p->largest_mu - 1, 0);
    total += beyond * beyond;
    bar[MU] += 200 * beyond / p->largest_mu;
    int inside = mu < p->largest_mu;
    mu = inside ? mu : p->largest_mu;

    /* the constants of the path */
    double sin_t = sin(value[THETA0]), cos_t = cos(value[THETA0]), sin_f = sin(value[PHI0]), cos_f = cos(value[PHI0]);
    double sin_i = sin(value[INC]), cos_i = cos(value[INC]), sin_p = sin(value[PA]), cos_p = cos(value[PA]);
    Path path = {.r0 = r0, .speed = sqrt(p->gm_sun * mass / r0), .v_lsr = value[V_LSR]}, out = {0};
    double root_mu = sqrt(mu), nu, lam;
    path.nu = nu = v_r0 / path.speed;
    path.root_lam = sin_t * root_mu;
    path.lam = lam = path.root_lam * path.root_lam;
    double root = sqrt(nu * nu + 2 - lam), eccentricity = sqrt((1 - lam) * (1 - lam) + lam * nu * nu);
    path.kappa = 1 / (nu + root);
    double periastron = lam * r0 / (1 + eccentricity), short_r0 = p->largest_rmin * r0;
    double r_min = fmin(value[RMIN], short_r0), r_stop = fmax(r_min, mu * r0 / 2);
    int at_periastron = periastron >= r_stop;
    double r_end = at_periastron ? periastron : r_stop, rho = r0 / r_end, v_end = 0;
    if (!at_periastron) v_end = sqrt(fmax(nu * nu + (rho - 1) * (2 - lam * (rho + 1)), 1e-20));
    double far = rho - 1, near = path.kappa * (nu + v_end);
    path.w_end = atan2(far, near);
    double turn[3][3] = {
        {cos_p, sin_p * sin_i, -sin_p * cos_i}, {sin_p, -cos_p * sin_i, cos_p * cos_i}, {0, cos_i, sin_i}};
    double axes[3][2] = {{sin_t * cos_f, -sin_f}, {sin_t * sin_f, cos_f}, {cos_t, 0}};
    double to_sky[3] = {-1 / p->distance, 1 / p->distance, 1};
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 2; j++)
            for (int k = 0; k < 3; k++) path.sky[i][j] += to_sky[i] * turn[i][k] * axes[k][j];

    total += chi2(p, &path, data, &out);

    /* and back */
    double turn_bar[3][3] = {{0}}, axes_bar[3][2] = {{0}};
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 2; j++)
            for (int k = 0; k < 3; k++) {
                turn_bar[i][k] += to_sky[i] * out.sky[i][j] * axes[k][j];
                axes_bar[k][j] += to_sky[i] * out.sky[i][j] * turn[i][k];
            }
    bar[PA] += -sin_p * turn_bar[0][0] + cos_p * (sin_i * turn_bar[0][1] - cos_i * turn_bar[0][2]) + cos_p * turn_bar[1][0]
               + sin_p * (sin_i * turn_bar[1][1] - cos_i * turn_bar[1][2]);
    bar[INC] += sin_p * (cos_i * turn_bar[0][1] + sin_i * turn_bar[0][2]) - cos_p * (cos_i * turn_bar[1][1] + sin_i * turn_bar[1][2])
                - sin_i * turn_bar[2][1] + cos_i * turn_bar[2][2];
    double sin_t_bar = axes_bar[0][0] * cos_f + axes_bar[1][0] * sin_f;
    bar[PHI0] += sin_t * (axes_bar[1][0] * cos_f - axes_bar[0][0] * sin_f) - axes_bar[0][1] * cos_f - axes_bar[1][1] * sin_f;
    bar[THETA0] -= sin_t * axes_bar[2][0];
    bar[V_LSR] += out.v_lsr;

    double r0_bar = out.r0, length = far * far + near * near;
    double rho_bar = out.w_end * near / length, near_bar = -out.w_end * far / length, mu_bar = 0;
    out.kappa += near_bar * (nu + v_end);
    out.nu += near_bar * path.kappa;
    if (!at_periastron && v_end > 1e-10) {
        double bend = near_bar * path.kappa / (2 * v_end);
        out.nu += bend * 2 * nu;
        rho_bar += bend * (2 - lam * (rho + 1) - lam * (rho - 1));
        out.lam -= bend * (rho * rho - 1);
    }
    r0_bar += rho_bar / r_end;
    double r_end_bar = -rho_bar * rho / r_end;
    if (at_periastron) {
        double e_bar = -r_end_bar * periastron / (1 + eccentricity);
        out.lam += r_end_bar * r0 / (1 + eccentricity) + e_bar * (nu * nu / 2 - (1 - lam)) / eccentricity;
        r0_bar += r_end_bar * periastron / r0;
        out.nu += e_bar * lam * nu / eccentricity;
    } else if (r_stop > r_min) {
        mu_bar += r_end_bar * r0 / 2, r0_bar += r_end_bar * mu / 2;
    } else if (r_min < short_r0) {
        bar[RMIN] += r_end_bar;
    } else {
        r0_bar += r_end_bar * p->largest_rmin;
    }
    double kappa_bar = -out.kappa * path.kappa * path.kappa;
    out.nu += kappa_bar * (1 + nu / root);
    out.lam -= kappa_bar / (2 * root);
    out.root_lam += out.lam * 2 * path.root_lam;
    sin_t_bar += out.root_lam * root_mu;
    mu_bar += out.root_lam * sin_t / (2 * root_mu);
    bar[THETA0] += sin_t_bar * cos_t;
    bar[V_R0] += out.nu / path.speed;
    out.speed -= out.nu * nu / path.speed;
    bar[MASS] += out.speed * path.speed / (2 * mass);
    r0_bar -= out.speed * path.speed / (2 * r0);
    bar[R0] += r0_bar + bar[RC] * value[MU] - bar[OMEGA] * 1.5 * value[OMEGA] / r0;
    bar[MU] += (inside ? mu_bar : 0) + bar[RC] * r0 + bar[OMEGA] * value[OMEGA] / (2 * value[MU]);
    bar[MASS] += bar[OMEGA] * value[OMEGA] / (2 * mass);
    for (int i = 0; i < N_PARAMETERS; i++) gradient[i] = bar[i] * d_value[i];
    return total;
}

/* Evaluate ``n_times``, each time ``step`` further in every coordinate; returns the sums of the losses and of the gradients. */
double repeat(const Problem *p, const double *x, double step, int n_times, double *gradient)
{
    static double data[MOST_POINTS][4];  /* projected radius and polar angle of the points, and their uncertainties */
    double here[N_PARAMETERS], now[N_PARAMETERS], total = 0;
    if (p->n_points > MOST_POINTS || p->n_samples > MOST_SAMPLES) return NAN;
    for (int j = 0; j < p->n_points; j++) {
        const double *point = p->points + 3 * j, *sigma = p->sigma + 3 * j;
        double r = data[j][0] = hypot(point[0], point[1]);
        data[j][1] = atan2(point[1], point[0]);
        data[j][2] = hypot(point[0] * sigma[0], point[1] * sigma[1]) / r;
        data[j][3] = hypot(point[1] * sigma[0], point[0] * sigma[1]) / (r * r);
    }
    memset(gradient, 0, N_PARAMETERS * sizeof *gradient);
    for (int k = 0; k < n_times; k++) {
        for (int i = 0; i < N_PARAMETERS; i++) here[i] = x[i] + k * step;
        total += evaluate(p, (const double (*)[4]) data, here, now);
        for (int i = 0; i < N_PARAMETERS; i++) gradient[i] += now[i];
    }
    return total;
}
