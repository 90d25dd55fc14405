package pki

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"berth/internal/fileset"
)

// checkInterval is the least time between two checks of the files for changes, except at handshakes, which all check.
const checkInterval = 250 * time.Millisecond

// watched holds the files of the last successful read, and reloads them when they change on disk.
type watched struct {
	paths  Paths
	usage  x509.ExtKeyUsage
	now    func() time.Time
	report func(error)

	mu      sync.Mutex
	current files
	version int // of current; grows with every change that was taken
	stamps  fileset.Stamps
	checked time.Time
}

// newWatched reads the files for the first time.
func newWatched(paths Paths, usage x509.ExtKeyUsage, strict bool, now func() time.Time, report func(error)) (*watched, []Warning, error) {
	if now == nil {
		now = time.Now
	}
	if report == nil {
		report = func(error) {}
	}
	exposed := exposures(paths)
	if strict && len(exposed) > 0 {
		return nil, nil, &exposed[0]
	}
	w := &watched{paths: paths, usage: usage, now: now, report: report}
	w.checked = w.now()
	l := w.load()
	if err := cmp.Or(l.setErr, l.listErr); err != nil {
		return nil, nil, err
	}
	warnings := l.warnings
	switch {
	case l.incomplete == nil:
	case usage == x509.ExtKeyUsageServerAuth:
		// Revoked certificates would be admitted again.
		return nil, nil, l.incomplete
	default:
		warnings = append(warnings, Warning{Code: WarnListMissing, Path: crlPath(paths.CA), Text: l.incomplete.Error()})
	}
	w.current = l.files
	warnings = append(warnings, listWarnings(paths.CA, l.revoked, w.checked)...)
	for _, e := range exposed {
		code := WarnOpenDirectory
		if errors.Is(e.Err, ErrKeyExposed) {
			if e.Path == paths.Key { // of which the loading has warned
				continue
			}
			code = WarnKeyReadable
		}
		warnings = append(warnings, Warning{Code: code, Path: e.Path, Text: fmt.Sprintf("%v: %s", e.Err, e.Advice)})
	}
	return w, warnings, nil
}

// load reads a consistent version of all files.
func (w *watched) load() loaded {
	var l loaded
	w.stamps = fileset.Stable(w.paths.watched(), func() { l = load(w.paths, w.usage, w.checked, w.current) })
	return l
}

// get returns the files in use. When they have changed on disk it reads them first; a fault is reported once, and the earlier
// files stay in use.
func (w *watched) get() files {
	current, _ := w.look(0)
	return current
}

// look is get for frequent callers: it checks the disk only when the last check is at least interval ago. It also returns
// the version of the files.
func (w *watched) look(interval time.Duration) (files, int) {
	w.mu.Lock()
	reports := w.refresh(interval)
	current, version := w.current, w.version
	w.mu.Unlock()
	for _, err := range reports {
		w.report(err)
	}
	return current, version
}

// watch checks the disk until ctx ends and calls changed after each change since the files were first read.
func (w *watched) watch(ctx context.Context, changed func()) {
	seen := 0
	tick := time.NewTicker(checkInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if _, version := w.look(0); version != seen {
			seen = version
			changed()
		}
	}
}

// refresh returns the result to report: nil after a reload, an error for a part that was not reloaded.
func (w *watched) refresh(interval time.Duration) []error {
	now := w.now()
	if since := now.Sub(w.checked); since >= 0 && since < interval {
		return nil
	}
	w.checked = now
	if w.stamps.Equal(fileset.StampsOf(w.paths.watched())) {
		return nil
	}
	l := w.load()
	var reports []error
	for _, err := range []error{l.setErr, l.listErr} {
		if err != nil {
			reports = append(reports, err)
		}
	}
	next := l.files
	switch {
	case l.setErr != nil:
		next = w.current
		next.revoked = l.revoked
	case l.incomplete != nil && w.usage == x509.ExtKeyUsageServerAuth:
		// The missing list of a new authority could revoke any certificate.
		if l.listErr == nil {
			reports = append(reports, l.incomplete)
		}
		next = w.current
	}
	// Cached verdicts do not take the new lists into account.
	next.verdicts = &sync.Map{}
	w.current = next
	w.version++
	if len(reports) == 0 {
		reports = append(reports, nil)
	}
	return reports
}
