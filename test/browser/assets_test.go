package browser_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"berth/internal/waittest"
	"berth/test/chromium"
)

// loaded is a file that a browser has loaded.
type loaded struct {
	status   int64
	coding   string // of its content
	cached   bool
	size     int64   // of its content, not compressed
	received float64 // bytes from the network, header included
	finished bool
}

// traffic is what a browser reports of the files that a tab loads.
type traffic struct {
	mu    sync.Mutex
	files map[network.RequestID]*loaded
	paths map[string]*loaded
}

// watchNetwork records what a tab loads from now on.
func watchNetwork(tab context.Context, t *testing.T) *traffic {
	t.Helper()
	seen := &traffic{files: map[network.RequestID]*loaded{}, paths: map[string]*loaded{}}
	if err := chromedp.Listen(tab, seen.note); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(tab, network.Enable, network.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	return seen
}

func (s *traffic) note(event any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	file := func(id network.RequestID) *loaded {
		if s.files[id] == nil {
			s.files[id] = &loaded{}
		}
		return s.files[id]
	}
	switch e := event.(type) {
	case *network.EventRequestServedFromCache:
		file(e.RequestID).cached = true
	case *network.EventResponseReceived:
		f := file(e.RequestID)
		f.status, f.cached = e.Response.Status, f.cached || e.Response.FromDiskCache
		for name, value := range e.Response.Headers {
			if strings.EqualFold(name, "Content-Encoding") {
				f.coding, _ = value.(string)
			}
		}
		if address, err := url.Parse(e.Response.URL); err == nil {
			s.paths[address.Path] = f
		}
	case *network.EventDataReceived:
		file(e.RequestID).size += e.DataLength
	case *network.EventLoadingFinished:
		f := file(e.RequestID)
		f.received, f.finished = e.EncodedDataLength, true
	}
}

// assets returns the static files whose loading has finished, by path.
func (s *traffic) assets() map[string]loaded {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]loaded{}
	for path, f := range s.paths {
		if strings.HasPrefix(path, "/assets/") && f.finished {
			all[path] = *f
		}
	}
	return all
}

// forget begins the record again.
func (s *traffic) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.files)
	clear(s.paths)
}

// assetsAreKept expects that the interface has been opened for the first time, and opens it again.
func (r room) assetsAreKept(tab context.Context, t *testing.T, seen *traffic) {
	t.Helper()
	var first map[string]loaded
	waittest.Until(t, "a script and a style have been loaded", func() error {
		first = seen.assets()
		for _, extension := range []string{".js", ".css"} {
			if !slices.ContainsFunc(slices.Collect(maps.Keys(first)), func(path string) bool { return strings.HasSuffix(path, extension) }) {
				return fmt.Errorf("no %s in %v", extension, first)
			}
		}
		return nil
	})
	var size, received float64
	for path, f := range first {
		if f.status != http.StatusOK || f.cached || f.size > 1<<10 && f.coding == "" {
			t.Errorf("%s: got %+v, want it compressed, and not from the cache of a new browser", path, f)
		}
		size, received = size+float64(f.size), received+f.received
	}
	if received > size/2 {
		t.Errorf("%.0f bytes were received for assets of %.0f, want at most the half", received, size)
	}
	t.Logf("%d assets: %.0f bytes, received as %.0f", len(first), size, received)

	seen.forget()
	chromium.Visit(tab, t, r.origin()+"/")
	r.awaitUI(tab, t)
	waittest.Until(t, "the same assets are loaded again", func() error {
		again := seen.assets()
		for path := range first {
			if _, there := again[path]; !there {
				return fmt.Errorf("%s is not; %v", path, again)
			}
		}
		return nil
	})
	kept := 0
	for path, f := range seen.assets() {
		if f.cached && f.received == 0 {
			kept++
		}
		if _, known := first[path]; known && f.received > 1<<10 { // a header at most, which says that the copy is still right
			t.Errorf("%s: got %+v the second time, want it from the cache", path, f)
		}
	}
	if kept == 0 {
		t.Error("no asset was taken from the cache without asking")
	}
}
