package pki

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"berth/internal/fileset"
)

// checkInterval is how often, at most, the files are looked at for changes between handshakes. Every handshake looks.
const checkInterval = 250 * time.Millisecond

// files is what one end needs, read from disk in one go.
type files struct {
	authorities authorities
	pool        *x509.CertPool // of the usable authorities
	pair        tls.Certificate
	revoked     revocations
	verdicts    *sync.Map // [32]byte of a certificate → verdict: with these files
}

// loadFiles reads and checks one end's files, the revocation list excepted. A leaf of another authority is an error for a
// server, whose clients trust exactly this authority; it is a warning for a client, where the engine may have one authority
// for each direction.
func loadFiles(paths Paths, usage x509.ExtKeyUsage, now time.Time) (files, []Warning, error) {
	found, err := readAuthorities(paths.CA, now)
	if err != nil {
		return files{}, nil, err
	}
	pair, err := readPair(paths.Cert, paths.Key, now)
	if err != nil {
		return files{}, nil, err
	}
	warnings := keyWarnings(paths.Key)
	if kind := kindOf(pair.Leaf); wrongKind(kind, usage) {
		return files{}, nil, &FileError{Path: paths.Cert, Err: errKind(kind), Advice: advice(paths.Cert, adviceForce)}
	}
	if err := checkChain(pair, found.usable, usage, now); err != nil {
		if usage == x509.ExtKeyUsageServerAuth {
			return files{}, nil, &FileError{Path: paths.Cert, Err: err, Advice: advice(paths.Cert, adviceForce)}
		}
		warnings = append(warnings, Warning{Code: WarnUntrustedLeaf, Path: paths.Cert, Text: err.Error()})
	}
	warnings = append(warnings, expiryWarnings(paths.Cert, pair.Leaf, now)...)
	warnings = append(warnings, interruptedWarnings(paths.Cert)...)
	return files{authorities: found, pool: poolOf(found.usable), pair: pair, verdicts: &sync.Map{}}, warnings, nil
}

// watched holds the files that were last read well, and reads them again when they change on disk.
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
	var warnings []Warning
	var err error
	w.stamps = fileset.Stable(paths.watched(), func() {
		if w.current, warnings, err = loadFiles(paths, usage, w.checked); err != nil {
			return
		}
		if w.current.revoked, err = readRevocations(paths.CA, w.current.authorities.all); err != nil {
			return
		}
		incomplete := w.current.revoked.complete(paths.CA, w.current.authorities.all)
		switch {
		case incomplete == nil:
		case usage == x509.ExtKeyUsageServerAuth:
			// Whoever was revoked would be let in again.
			err = incomplete
		default:
			warnings = append(warnings, Warning{Code: WarnListMissing, Path: crlPath(paths.CA), Text: incomplete.Error()})
		}
		warnings = append(warnings, listWarnings(paths.CA, w.current.revoked, w.checked)...)
	})
	if err != nil {
		return nil, nil, err
	}
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

// get answers the files in use. When they have changed on disk it reads them first; what cannot be used is reported once
// and the earlier files stay in use.
func (w *watched) get() files {
	current, _ := w.look(0)
	return current
}

// look is get for those who ask often: it looks at the disk only when the last look is at least interval ago. It answers
// the version of the files, too.
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

// watch looks at the disk until ctx ends and calls changed after each change since the files were first read.
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

// refresh answers what there is to report: nil for a change that was taken, an error for a part that was not.
func (w *watched) refresh(interval time.Duration) []error {
	now := w.now()
	if since := now.Sub(w.checked); since >= 0 && since < interval {
		return nil
	}
	w.checked = now
	if w.stamps.Equal(fileset.StampsOf(w.paths.watched())) {
		return nil
	}
	var fresh files
	var lists revocations
	var setErr, listErr error
	w.stamps = fileset.Stable(w.paths.watched(), func() {
		fresh, _, setErr = loadFiles(w.paths, w.usage, now)
		all := fresh.authorities.all
		if setErr != nil {
			all = w.current.authorities.all
		}
		if lists, listErr = readRevocations(w.paths.CA, all); listErr == nil {
			if listErr = lists.follow(w.current.revoked, all); listErr != nil {
				listErr = &FileError{Path: crlPath(w.paths.CA), Err: listErr, Advice: adviceRevoke}
			}
		}
	})
	var reports []error
	if setErr != nil {
		reports = append(reports, setErr)
		// The verdicts of before know nothing of the new lists.
		fresh = w.current
		fresh.verdicts = &sync.Map{}
	}
	fresh.revoked = lists
	if listErr != nil {
		reports = append(reports, listErr)
		fresh.revoked = w.current.revoked.of(fresh.authorities.all)
	}
	if setErr == nil && w.usage == x509.ExtKeyUsageServerAuth {
		// A new authority whose list is not there could have revoked anybody.
		if err := fresh.revoked.complete(w.paths.CA, fresh.authorities.all); err != nil {
			if listErr == nil {
				reports = append(reports, err)
			}
			revoked := w.current.revoked
			fresh = w.current
			fresh.revoked, fresh.verdicts = revoked, &sync.Map{}
		}
	}
	w.current = fresh
	w.version++
	if len(reports) == 0 {
		reports = append(reports, nil)
	}
	return reports
}

// verdict is what the files of a moment say of a certificate until one of its chain expires.
type verdict struct {
	err   error
	until time.Time
}

// admits says whether whoever presented these certificates, the leaf first, may go on: nil or why not.
func (f files) admits(presented []*x509.Certificate, usage x509.ExtKeyUsage, now time.Time) error {
	// Time goes on, so what it says is never kept.
	if err := checkTime(presented[0], now); err != nil {
		return err
	}
	key := sha256.Sum256(presented[0].Raw)
	known, ok := f.verdicts.Load(key)
	if !ok {
		known = f.judge(presented, usage, now)
		f.verdicts.Store(key, known)
	}
	v := known.(verdict)
	if v.err == nil && now.After(v.until) {
		return fmt.Errorf("%w on %s", ErrExpired, v.until.UTC().Format(time.RFC3339))
	}
	return v.err
}

func (f files) judge(presented []*x509.Certificate, usage x509.ExtKeyUsage, now time.Time) verdict {
	chains, err := check{pool: f.pool, usage: usage, now: now}.chains(presented)
	if err != nil {
		return verdict{err: fmt.Errorf("%w: %w", ErrUntrusted, err)}
	}
	if err := f.revoked.check(chains); err != nil {
		return verdict{err: err}
	}
	var until time.Time
	for _, chain := range chains {
		if end := ends(chain); end.After(until) {
			until = end
		}
	}
	return verdict{until: until}
}
