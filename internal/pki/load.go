package pki

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"sync"
	"time"
)

// checkInterval is how often, at most, the files are looked at for changes.
const checkInterval = time.Second

// files is what one end needs, read from disk in one go.
type files struct {
	pool *x509.CertPool
	pair tls.Certificate
}

// loadFiles reads and checks one end's files. A leaf of another authority is an error for a server, whose clients trust
// exactly this authority; it is a warning for a client, where the engine may have one authority for each direction.
func loadFiles(paths Paths, usage x509.ExtKeyUsage, now time.Time) (files, []Warning, error) {
	pool, err := readAuthorities(paths.CA, now)
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
	if err := checkChain(pair, pool, usage, now); err != nil {
		if usage == x509.ExtKeyUsageServerAuth {
			return files{}, nil, &FileError{Path: paths.Cert, Err: err, Advice: advice(paths.Cert, adviceForce)}
		}
		warnings = append(warnings, Warning{Code: WarnUntrustedLeaf, Path: paths.Cert, Text: err.Error()})
	}
	warnings = append(warnings, expiryWarnings(paths.Cert, pair.Leaf, now)...)
	warnings = append(warnings, interruptedWarnings(paths.Cert)...)
	return files{pool: pool, pair: pair}, warnings, nil
}

// watched holds the files that were last read well, and reads them again when they change on disk.
type watched struct {
	paths  Paths
	usage  x509.ExtKeyUsage
	now    func() time.Time
	report func(error)

	mu      sync.Mutex
	current files
	stamps  [3]os.FileInfo
	checked time.Time
}

// newWatched reads the files for the first time.
func newWatched(paths Paths, usage x509.ExtKeyUsage, now func() time.Time, report func(error)) (*watched, []Warning, error) {
	if now == nil {
		now = time.Now
	}
	if report == nil {
		report = func(error) {}
	}
	w := &watched{paths: paths, usage: usage, now: now, report: report}
	// The stamps come first: a change between them and the reading is then seen as a change.
	w.stamps, w.checked = stampsOf(paths), w.now()
	current, warnings, err := loadFiles(paths, usage, w.checked)
	if err != nil {
		return nil, nil, err
	}
	w.current = current
	return w, warnings, nil
}

// get answers the files in use. When they have changed on disk it reads them first; what cannot be used is reported once
// and the earlier files stay in use.
func (w *watched) get() files {
	current, reload, err := w.refresh()
	if reload {
		w.report(err)
	}
	return current
}

func (w *watched) refresh() (current files, reload bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	if since := now.Sub(w.checked); since >= 0 && since < checkInterval {
		return w.current, false, nil
	}
	w.checked = now
	stamps := stampsOf(w.paths)
	if sameStamps(stamps, w.stamps) {
		return w.current, false, nil
	}
	w.stamps = stamps
	fresh, _, err := loadFiles(w.paths, w.usage, now)
	if err != nil {
		return w.current, true, err
	}
	w.current = fresh
	return w.current, true, nil
}

func stampsOf(p Paths) [3]os.FileInfo {
	var stamps [3]os.FileInfo
	for i, path := range []string{p.CA, p.Cert, p.Key} {
		if info, err := os.Stat(path); err == nil {
			stamps[i] = info
		}
	}
	return stamps
}

func sameStamps(a, b [3]os.FileInfo) bool {
	for i := range a {
		switch {
		case a[i] == nil && b[i] == nil:
		case a[i] == nil || b[i] == nil:
			return false
		case !os.SameFile(a[i], b[i]), a[i].Size() != b[i].Size(), !a[i].ModTime().Equal(b[i].ModTime()):
			return false
		}
	}
	return true
}
