package pki

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync"
	"time"
)

// files are the files of one end, read from disk together.
type files struct {
	authorities authorities
	pool        *x509.CertPool // of the usable authorities
	pair        tls.Certificate
	revoked     Revocations
	verdicts    *sync.Map // [32]byte of a certificate → verdict: with these files
}

// loadSet reads and checks one end's files, the revocation list excepted. A leaf of another authority is an error for a
// server, because its clients trust exactly this authority; it is a warning for a client, where the engine may have one authority
// for each direction.
func loadSet(paths Paths, usage x509.ExtKeyUsage, now time.Time) (files, []Warning, error) {
	found, err := readAuthorities(paths.CA, now)
	if err != nil {
		return files{}, nil, err
	}
	pair, err := readPair(paths.Cert, paths.Key, now)
	if err != nil {
		return files{}, nil, err
	}
	warnings := keyWarnings(paths.Key)
	if err := checkKind(pair.Leaf, usage); err != nil {
		return files{}, nil, unusable(paths.Cert, err)
	}
	if err := checkChain(pair, found.usable, usage, now); err != nil {
		if usage == x509.ExtKeyUsageServerAuth {
			return files{}, nil, unusable(paths.Cert, err)
		}
		warnings = append(warnings, Warning{Code: WarnUntrustedLeaf, Path: paths.Cert, Text: err.Error()})
	}
	warnings = append(warnings, expiryWarnings(paths.Cert, pair.Leaf, now)...)
	warnings = append(warnings, interruptedWarnings(paths.Cert)...)
	return files{authorities: found, pool: PoolOf(found.usable), pair: pair, verdicts: &sync.Map{}}, warnings, nil
}

// loaded is the result of one read from disk. The set and the lists fail independently.
type loaded struct {
	files
	warnings   []Warning
	setErr     error // why the set cannot be used; the lists are then checked against the authorities in force
	listErr    error // why the lists cannot be used; those in force then stay
	incomplete error // which list is missing, or older than the known one
}

// load reads and checks all files of one end. The files in force are zero at the first call.
func load(paths Paths, usage x509.ExtKeyUsage, now time.Time, inForce files) loaded {
	var l loaded
	l.files, l.warnings, l.setErr = loadSet(paths, usage, now)
	all := l.authorities.all
	if l.setErr != nil {
		all = inForce.authorities.all
	}
	if l.revoked, l.listErr = readRevocations(paths.CA, all); l.listErr == nil {
		if err := l.revoked.follow(inForce.revoked, all); err != nil {
			l.listErr = &FileError{Path: crlPath(paths.CA), Err: err, Advice: adviceRevoke}
		}
	}
	if l.listErr != nil {
		l.revoked = inForce.revoked.of(all)
	}
	l.incomplete = l.revoked.complete(paths.CA, all)
	return l
}

// verdict is the cached result of a check with one version of the files, valid until a certificate of the chain expires.
type verdict struct {
	err   error
	until time.Time
}

// admits checks the certificates that a peer presented, the leaf first: nil, or why they are not accepted.
func (f files) admits(presented []*x509.Certificate, usage x509.ExtKeyUsage, now time.Time) error {
	// The dates are checked each time, since this result is not cacheable.
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
