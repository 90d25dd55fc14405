package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"berth/internal/usage"
)

// modelMetrics are those of calls of models. Their labels are names of the operator's settings; sessions and owners are not among
// them: the usage has those.
type modelMetrics struct {
	calls   *prometheus.CounterVec
	tokens  *prometheus.CounterVec
	cost    *prometheus.CounterVec
	refused *prometheus.CounterVec
}

// How calls of models end.
const (
	callCounted   = "counted"
	callEstimated = "estimated"
	callFailed    = "failed"
)

func newModelMetrics(r prometheus.Registerer) modelMetrics {
	m := modelMetrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "berth_model_calls_total",
			Help: "Calls of models that have ended; estimated: the provider's count was not seen; failed: it refused the call.",
		}, []string{"provider", "model", "outcome"}),
		tokens: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "berth_model_tokens_total",
			Help: "Tokens that calls used: input of prompts without the cached ones, cached, and output of answers.",
		}, []string{"provider", "model", "kind"}),
		cost: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "berth_model_cost_total", Help: "Cost of calls, in the currency of prices.",
		}, []string{"provider", "model"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "berth_budget_refusals_total", Help: "Calls that a budget did not admit, by its holder and limit.",
		}, []string{"holder", "limit"}),
	}
	r.MustRegister(m.calls, m.tokens, m.cost, m.refused)
	return m
}

// ModelCalled counts a call that has ended.
func (m *Metrics) ModelCalled(h usage.Hold, used usage.Use, failed bool) {
	outcome := callCounted
	switch {
	case failed:
		outcome = callFailed
	case used.Estimated > 0:
		outcome = callEstimated
	}
	m.models.calls.WithLabelValues(h.Provider, h.Model, outcome).Inc()
	if failed {
		return
	}
	for kind, n := range map[string]int64{
		"input": used.Tokens.Input - used.Tokens.Cached, "cached": used.Tokens.Cached, "output": used.Tokens.Output,
	} {
		m.models.tokens.WithLabelValues(h.Provider, h.Model, kind).Add(float64(n))
	}
	m.models.cost.WithLabelValues(h.Provider, h.Model).Add(float64(used.Micros) / 1e6)
}

// BudgetRefused counts a call that a budget did not admit.
func (m *Metrics) BudgetRefused(l usage.Limit) {
	m.models.refused.WithLabelValues(string(l.Key.Holder.Kind), string(l.Key.Kind)).Inc()
}
