// Package access answers who makes a request and what they may do: it reads credentials, knows what each kind of
// principal may do, decides whether a token is accepted, limits and records requests without a valid one, and derives
// all secrets.
//
// It knows tokens, clients and sessions' IDs. It refuses to know HTTP's requests and answers, the store, and what is done
// once a request is admitted.
package access
