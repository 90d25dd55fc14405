package model_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"berth/internal/gateway/model"
	"berth/internal/modeltest"
	"berth/internal/usage"
	"berth/internal/waittest"
)

// total adds results.
func total(results []usage.Result) (tokens usage.Tokens, estimated int) {
	for _, r := range results {
		tokens.Input += r.Tokens.Input
		tokens.Cached += r.Tokens.Cached
		tokens.Output += r.Tokens.Output
		if r.Estimated {
			estimated++
		}
	}
	return tokens, estimated
}

// provided adds what the providers have counted.
func (e *env) provided() usage.Tokens {
	var all usage.Tokens
	for _, p := range e.providers {
		for _, call := range p.Calls() {
			all.Input += call.Tokens.Input
			all.Cached += call.Tokens.Cached
			all.Output += call.Tokens.Output
		}
	}
	return all
}

func TestUsageOfThousandStreamsOfWhichAThirdIsCut(t *testing.T) {
	t.Parallel()
	const streams, together = 1000, 40
	e := setup(t, func(o *model.Options) { o.Limits.Calls = streams })
	var order []model.Kind
	for kind := range kinds {
		e.providers[kind].Play(modeltest.Script{Words: 20, Pause: time.Millisecond})
		order = append(order, kind)
	}
	slots := make(chan struct{}, together)
	var calls sync.WaitGroup
	for i := range streams {
		kind := order[i%len(order)]
		slots <- struct{}{}
		calls.Go(func() {
			defer func() { <-slots }()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			res := e.open(ctx, http.MethodPost, "/models/"+string(kind)+kinds[kind].path, kinds[kind].body)
			defer res.Body.Close()
			if i%3 == 0 {
				_, _ = io.ReadFull(res.Body, make([]byte, 200))
				return // cut
			}
			if _, err := io.Copy(io.Discard, res.Body); err != nil {
				t.Errorf("stream %d: %v", i, err)
			}
		})
	}
	calls.Wait()
	got, estimated := total(e.settled(streams))
	if want := e.provided(); got != want || estimated != 0 {
		t.Errorf("got %+v with %d estimates, want %+v with none", got, estimated, want)
	}
}

func TestStreamsThatCannotBeDrainedAreMarked(t *testing.T) {
	t.Parallel()
	for name, limits := range map[string]model.Limits{
		"time":  {DrainTime: 20 * time.Millisecond},
		"bytes": {DrainBytes: 1},
		"none":  {Drains: -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := setup(t, func(o *model.Options) { o.Limits = limits })
			for kind, call := range kinds {
				e.providers[kind].Play(modeltest.Script{Words: 1, Endless: true, Pause: time.Millisecond})
				ctx, cancel := context.WithCancel(t.Context())
				res := e.open(ctx, http.MethodPost, "/models/"+string(kind)+call.path, call.body)
				_, _ = io.ReadFull(res.Body, make([]byte, 600))
				cancel()
				_ = res.Body.Close()
			}
			for _, result := range e.settled(len(kinds)) {
				if !result.Estimated || result.Failed || result.Tokens.Input == 0 || result.Tokens.Output == 0 {
					t.Errorf("settled as %+v, want an estimate", result)
				}
			}
		})
	}
}

func TestChangedKeyCutsNoStream(t *testing.T) {
	t.Parallel()
	const streams = 50
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("key-one"), 0o600); err != nil {
		t.Fatal(err)
	}
	e := setup(t, func(o *model.Options) {
		for i := range o.Providers {
			o.Providers[i].Key = model.KeyFile(file)
		}
	})
	p := e.providers[model.Anthropic]
	p.Accept("key-one")
	hold := make(chan struct{})
	p.Play(modeltest.Script{Words: 200, Hold: hold})
	call := kinds[model.Anthropic]
	errs := make(chan error, streams)
	for range streams {
		res := e.open(t.Context(), http.MethodPost, "/models/anthropic"+call.path, call.body)
		go func() {
			defer res.Body.Close()
			n, err := io.Copy(io.Discard, res.Body)
			if res.StatusCode != http.StatusOK || n < 200*100 {
				err = errors.Join(err, fmt.Errorf("status %d, %d bytes", res.StatusCode, n))
			}
			errs <- err
		}()
	}
	// The key changes, and then the providers do.
	if err := os.WriteFile(file+".new", []byte("key-two"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	p.Accept("key-two")
	p.Play(modeltest.Script{})
	waittest.True(t, "new key in use", func() bool {
		status, _, _ := e.post(model.Anthropic, call.path, call.body)
		return status == http.StatusOK
	})
	for i := range e.settings {
		e.settings[i].Key = model.FixedKey("key-three")
	}
	if err := e.handler.Replace(e.settings); err != nil {
		t.Fatal(err)
	}
	p.Accept("key-three")
	if status, text, _ := e.post(model.Anthropic, call.path, call.body); status != http.StatusOK {
		t.Errorf("after the providers were replaced: got %d %s", status, text)
	}
	close(hold)
	for range streams {
		if err := <-errs; err != nil {
			t.Errorf("a stream was cut: %v", err)
		}
	}
	for _, result := range e.meter.settled() {
		if result.Estimated {
			t.Errorf("settled as %+v", result)
		}
	}
}
