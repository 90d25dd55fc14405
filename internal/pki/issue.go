package pki

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"
)

// longLife is the validity in days above which platforms refuse server certificates.
const longLife = 825

// maxCommonName is the limit of X.520.
const maxCommonName = 64

// IssueOptions describe the certificate to make. Kind and Out are required, Name for a client.
type IssueOptions struct {
	Kind        Kind        // KindClient or KindServer
	Name        string      // common name; for a server empty means its first host
	Hosts       []string    // of a server; see InitOptions
	Environment Environment // of a server; see InitOptions
	Days        int         // zero means DefaultLeafDays
	KeyType     KeyType
	Out         string // directory of the new files
	CAKey       string // file of the authority's key; empty means the one of the directory
	Force       bool   // replace existing files in Out
	Now         func() time.Time

	before hook
}

// Issued is a certificate that was made, and where.
type Issued struct {
	Certificate Description `json:"certificate"`
	Key         string      `json:"key"`
	Authorities string      `json:"authorities"`
	Warnings    []Warning   `json:"warnings,omitempty"`
}

// Validate returns the faults of the options.
func (o IssueOptions) Validate() error {
	var nameErr, outErr, kindErr error
	switch o.Kind {
	case KindClient:
		if len(o.Hosts) > 0 {
			kindErr = errors.New("a client certificate has a name and no hosts")
		}
		nameErr = checkCommonName(o.Name)
	case KindServer:
		_, _, kindErr = serverNames(o.Hosts, o.Environment)
		if o.Name != "" {
			nameErr = checkCommonName(o.Name)
		}
	default:
		kindErr = fmt.Errorf("kind %q is unknown: use client or server", o.Kind)
	}
	if o.Out == "" {
		outErr = errors.New("name the directory of the new files (out)")
	}
	return errors.Join(kindErr, nameErr, outErr, InitOptions{Days: o.Days, KeyType: o.KeyType}.Validate())
}

func checkCommonName(name string) error {
	if name == "" || len(name) > maxCommonName || strings.TrimSpace(name) != name ||
		strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
		return fmt.Errorf("name %q: use 1 to %d printable characters", name, maxCommonName)
	}
	return nil
}

// Issue makes one more certificate from the authority of dir, and writes it to a separate directory, with its key and the
// trusted authorities. dir records it, so that it can be listed and revoked.
func Issue(dir string, opts IssueOptions) (Issued, error) {
	if err := opts.Validate(); err != nil {
		return Issued{}, err
	}
	var issued Issued
	err := edit(dir, opts.Now, opts.before, func(d *directory) error {
		authority, err := d.issuer(opts.CAKey)
		if err != nil {
			return err
		}
		return editOut(opts.Out, opts.Now, opts.before, func(out *directory) error {
			issued, err = d.issueTo(out, authority, opts)
			return err
		})
	})
	if errors.Is(err, ErrLocked) && sameFile(dir, opts.Out) {
		return Issued{}, &FileError{Path: opts.Out, Err: ErrExists, Advice: `a directory of its own is needed; "berth certs renew" replaces what stands here`}
	}
	return issued, err
}

func (d *directory) issueTo(out *directory, authority *Authority, opts IssueOptions) (Issued, error) {
	names, sign := pairFiles{ClientCertFile, ClientKeyFile}, authority.IssueClient
	req := Request{CommonName: opts.Name, KeyType: opts.KeyType, Now: d.now, Days: cmp.Or(opts.Days, DefaultLeafDays)}
	if opts.Kind == KindServer {
		var err error
		if req.DNSNames, req.IPs, err = serverNames(opts.Hosts, opts.Environment); err != nil {
			return Issued{}, err
		}
		req.CommonName = cmp.Or(opts.Name, serverCommonName(req.DNSNames, req.IPs))
		names, sign = pairFiles{ServerCertFile, ServerKeyFile}, authority.IssueServer
	}
	if err := out.vacant(opts.Force, names.cert, names.key); err != nil {
		return Issued{}, err
	}
	pair, err := sign(req)
	if err != nil {
		return Issued{}, err
	}
	out.putPair(names, pair)
	made := describe(out.file(names.cert), pair.Certificate)
	d.remember(made, false)
	for _, name := range []string{CACertFile, CRLFile} {
		if !d.has(name) {
			continue
		}
		data, err := ReadFile(d.file(name))
		if err != nil {
			return Issued{}, err
		}
		out.put(name, data)
	}
	warnings := append(lifeWarnings(made.Path, pair, authority, req.Days), d.rotationWarnings(made)...)
	// A record without a certificate is harmless; a certificate without a record could not be revoked by its number.
	if err := d.commit(); err != nil {
		return Issued{}, err
	}
	if err := out.commit(); err != nil {
		return Issued{}, err
	}
	return Issued{Certificate: made, Key: out.file(names.key), Authorities: out.file(CACertFile), Warnings: warnings}, nil
}

// vacant checks that certificates may be written to a directory: it is not an authority's, and has these files only if they may
// be replaced.
func (d *directory) vacant(force bool, names ...string) error {
	if d.has(CAKeyFile) {
		return &FileError{Path: d.file(CAKeyFile), Err: ErrExists, Advice: "this is the directory of an authority; choose another one"}
	}
	for _, name := range names {
		if d.has(name) && !force {
			return &FileError{Path: d.file(name), Err: ErrExists, Advice: "choose another directory, or --force"}
		}
	}
	return nil
}

// rotationWarnings warn of a certificate of an authority that will be retired.
func (d *directory) rotationWarnings(made Description) []Warning {
	at, err := d.rotation()
	if err != nil || at.Old == nil || made.AuthorityKeyID != at.Old.KeyID {
		return nil
	}
	text := "is signed by the authority that a rotation will retire: issue it again after the next step (berth certs rotate --status)"
	return []Warning{{Code: WarnRotating, Path: made.Path, Text: text}}
}

// lifeWarnings warns of a validity that is longer than some clients accept, or shorter than requested.
func lifeWarnings(path string, leaf Pair, authority *Authority, days int) []Warning {
	var warnings []Warning
	if days > longLife {
		warnings = append(warnings, longLifeWarning(path, days))
	}
	if end := authority.Certificate.NotAfter; leaf.Certificate.NotAfter.Equal(end) && end.Before(leaf.Certificate.NotBefore.Add(clockSkew).AddDate(0, 0, days)) {
		text := fmt.Sprintf("ends with its authority on %s: run berth certs rotate", end.UTC().Format(time.DateOnly))
		warnings = append(warnings, Warning{Code: WarnAuthorityEnds, Path: path, Text: text})
	}
	return warnings
}

func longLifeWarning(path string, days int) Warning {
	text := fmt.Sprintf("is valid for %d days, and so is a stolen key; some clients refuse more than %d", days, longLife)
	return Warning{Code: WarnLongLife, Path: path, Text: text}
}

func serverCommonName(dns []string, ips []net.IP) string {
	if len(dns) > 0 && len(dns[0]) <= maxCommonName {
		return dns[0]
	}
	if len(ips) > 0 {
		return ips[0].String()
	}
	return "berth guard"
}

func sameFile(a, b string) bool {
	x, err := os.Stat(filepath.Clean(a))
	if err != nil {
		return false
	}
	y, err := os.Stat(filepath.Clean(b))
	return err == nil && os.SameFile(x, y)
}
