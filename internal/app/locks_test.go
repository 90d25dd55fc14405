package app_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"berth/internal/app"
)

// A request through the proxy may wait for at most one process-wide lock, or sessions would wait for each other. The test
// holds every lock that exists at the start in turn and sends a request meanwhile. Locks of one session or one connection do
// not exist yet at that time. Requests that write to the audit trail, as each stream does, also wait for the trail's lock.
func TestProxiedRequestTakesOneLockOfTheProcess(t *testing.T) {
	t.Parallel()
	cfg := settings(t)
	a, err := app.New(t.Context(), cfg, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	locks := locksOf(a)
	b := run(t, a, cfg)
	var s made
	if status := b.call(t, http.MethodPost, "/sessions", b.adminToken(t), &s); status != http.StatusCreated {
		t.Fatalf("create: got %d", status)
	}
	client := &http.Client{Transport: &http.Transport{}} // the test's own, so that its locks are not among the process's
	defer client.CloseIdleConnections()
	ask := func() error {
		r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, "http://"+b.Addr().String()+"/s/"+s.ID+"/echo", nil)
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", "Bearer "+s.Token)
		answer, err := client.Do(r)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != http.StatusOK {
			return fmt.Errorf("got %d, %w", answer.StatusCode, err)
		}
		return nil
	}
	for range 2 { // opens the connections and records the new client
		if err := ask(); err != nil {
			t.Fatal(err)
		}
	}

	var needed []string
	for _, lock := range locks {
		done := make(chan error, 1)
		lock.Lock()
		go func() { done <- ask() }()
		select {
		case err = <-done:
			lock.Unlock()
		case <-time.After(5 * time.Second):
			needed = append(needed, lock.path)
			lock.Unlock()
			err = <-done
		}
		if err != nil {
			t.Errorf("while %s was held: %v", lock.path, err)
		}
	}
	// The one lock is that of the collected last-use times.
	if len(needed) > 1 {
		t.Errorf("a request waits for %d locks of the process, want one at most:\n%s", len(needed), strings.Join(needed, "\n"))
	}
	for _, part := range []string{"App.server.", "App.proxy.", "App.proxy.access.", "App.metrics.", "App.manager."} {
		if !slices.ContainsFunc(locks, func(l foundLock) bool { return strings.HasPrefix(l.path, part) }) {
			t.Errorf("no lock was found in %s: locksOf misses it", part)
		}
	}
}

func TestLocksOfFindsLocksInNestedValues(t *testing.T) {
	t.Parallel()
	type inner struct{ mu sync.Mutex }
	type outer struct {
		plain  inner
		rw     *sync.RWMutex
		any    any
		list   []inner
		byName map[string]*inner
		shared sync.Map
		self   *outer
	}
	o := &outer{rw: new(sync.RWMutex), any: &inner{}, list: make([]inner, 2), byName: map[string]*inner{"a": {}}}
	o.self = o
	o.shared.Store("b", &inner{})
	var got []string
	for _, lock := range locksOf(o) {
		got = append(got, lock.path)
		lock.Lock()
	}
	want := []string{"outer.any.mu", "outer.byName[a].mu", "outer.list[0].mu", "outer.list[1].mu", "outer.plain.mu", "outer.rw", "outer.shared[b].mu"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("locks (-want +got):\n%s", d)
	}
	if o.plain.mu.TryLock() || o.rw.TryRLock() {
		t.Error("a copy was locked")
	}
}

// foundLock is a lock and how it is reached.
type foundLock struct {
	sync.Locker
	path string
}

// locksOf finds the mutexes that are reachable from what p points to, in fields, behind pointers, in interfaces, lists and maps.
// It does not see into functions. The values must not change while it runs.
func locksOf(p any) []foundLock {
	f := finder{seen: map[pointed]bool{}}
	v := reflect.ValueOf(p)
	f.look(v.Elem(), v.Elem().Type().Name())
	slices.SortFunc(f.found, func(a, b foundLock) int { return strings.Compare(a.path, b.path) })
	return f.found
}

type pointed struct {
	at unsafe.Pointer
	of reflect.Type
}

type finder struct {
	seen  map[pointed]bool
	found []foundLock
}

func (f *finder) look(v reflect.Value, path string) {
	if v.CanAddr() {
		v = reflect.NewAt(v.Type(), v.Addr().UnsafePointer()).Elem() // fields that are not exported as well
		here := pointed{v.Addr().UnsafePointer(), v.Type()}
		if f.seen[here] {
			return
		}
		f.seen[here] = true
		if f.special(v.Addr().Interface(), path) {
			return
		}
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			f.look(v.Elem(), path)
		}
	case reflect.Struct:
		if copied := reflect.New(v.Type()).Elem(); !v.CanAddr() {
			copied.Set(v)
			v = copied
		}
		for i := range v.NumField() {
			f.look(v.Field(i), path+"."+v.Type().Field(i).Name)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			f.look(v.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
	case reflect.Map:
		for key, value := range v.Seq2() {
			f.look(value, fmt.Sprintf("%s[%v]", path, key))
		}
	default:
	}
}

// special handles types of the standard library that keep their values behind unsafe or private representations.
func (f *finder) special(p any, path string) bool {
	switch held := p.(type) {
	case *sync.Mutex:
		f.found = append(f.found, foundLock{held, path})
	case *sync.RWMutex:
		f.found = append(f.found, foundLock{held, path})
	case *sync.Map:
		for key, value := range held.Range {
			f.look(reflect.ValueOf(value), fmt.Sprintf("%s[%v]", path, key))
		}
	default:
		t := reflect.TypeOf(p).Elem()
		if t.PkgPath() != "sync/atomic" || !strings.HasPrefix(t.Name(), "Pointer[") && t.Name() != "Value" {
			return false
		}
		if value := reflect.ValueOf(p).MethodByName("Load").Call(nil)[0]; !value.IsNil() {
			f.look(value, path)
		}
	}
	return true
}
