// Package usage knows what sessions use of models, and what they may use: it counts tokens and money, and holds budgets.
package usage

import (
	"context"
	"time"

	"berth/internal/session"
)

// Call is a request to a model that is about to be sent to its provider.
type Call struct {
	Caller   session.Caller
	Provider string // name in the settings
	Model    string // name at the provider
	Price    Price
	Most     Tokens // upper bound of what the call can use, as far as it is known before it is made
}

// Tokens counts the tokens of one or more calls.
type Tokens struct {
	Input  int64 `json:"input_tokens"`        // all of the prompt, cached ones included
	Cached int64 `json:"cached_input_tokens"` // the part of Input that the provider had in its cache
	Output int64 `json:"output_tokens"`       // reasoning included
}

// Price is what a model costs, in the operator's currency per million tokens. Zero: nothing.
type Price struct {
	Input  float64 `yaml:"input,omitempty"`
	Cached float64 `yaml:"cached_input,omitempty"` // 0: as Input
	Output float64 `yaml:"output,omitempty"`
}

// Result is how a call ended.
type Result struct {
	Tokens    Tokens
	Estimated bool // the provider's own count was not seen
	Failed    bool // the provider has refused the call, and counts nothing for it
}

// Meter admits calls to models and counts them.
type Meter interface {
	// Reserve reserves what the call can use, so that calls at the same time do not pass a limit together. The error is a
	// CodeBudget failure that says what is used up and when it renews, or CodeStoreUnavailable.
	Reserve(ctx context.Context, call Call) (Reservation, error)
}

// Reservation is the part of a budget that a call in progress holds.
type Reservation interface {
	// Settle replaces the reservation by what the call used. It is called once, and outlives the request's context.
	Settle(ctx context.Context, result Result)
}

// Record is what one session used of one model on one day.
type Record struct {
	Day      time.Time // 00:00 UTC
	Session  session.ID
	Owner    string
	Provider string
	Model    string
	Calls    int64 // that ended
	Tokens   Tokens
	// Estimated is the part of Tokens.Output and Tokens.Input together that is an estimate.
	Estimated int64
	Micros    int64 // cost in millionths of the operator's currency
}
