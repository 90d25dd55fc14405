// Package pki knows the certificates of Docker's mutual TLS: it makes a certificate authority with one server and one client
// certificate, keeps them as files, checks them, describes them, and turns them into TLS configurations for either end.
//
// It uses crypto/x509 and the file system only: no flags, no environment, no printing, no network, no Docker API.
// A client certificate of this authority gives root on the engine's host, so the authority signs nothing but these two kinds
// of certificate.
package pki

import (
	"cmp"
	"path/filepath"
	"time"

	"berth/internal/fileset"
)

// File names inside a certificate directory.
const (
	CACertFile     = "ca.pem"
	CAKeyFile      = "ca-key.pem"
	ServerCertFile = "server-cert.pem"
	ServerKeyFile  = "server-key.pem"
	ClientCertFile = "client-cert.pem"
	ClientKeyFile  = "client-key.pem"

	// DockerCertFile and DockerKeyFile are the names that the docker command line uses for the client's pair.
	DockerCertFile = "cert.pem"
	DockerKeyFile  = "key.pem"
)

// Default validity periods.
const (
	DefaultCADays   = 3650
	DefaultLeafDays = 90

	// maxDays is the longest validity in days; more is a typing error.
	maxDays = 36500

	// clockSkew is how far in the past a new certificate begins, so that a peer with a slow clock accepts it at once.
	clockSkew = 5 * time.Minute
)

// Kind says what a certificate may be used for.
type Kind string

// The kinds. KindOther is a certificate that this package would not have made, such as one for both ends.
const (
	KindCA     Kind = "ca"
	KindServer Kind = "server"
	KindClient Kind = "client"
	KindOther  Kind = "other"
	// KindListener is the certificate that Berth's own listener shows, whatever it may be used for.
	KindListener Kind = "listener"
)

// KeyType is the kind of private key that new certificates get. The zero value means ECDSA.
type KeyType string

// The key types.
const (
	ECDSA   KeyType = "ecdsa" // on P-256
	Ed25519 KeyType = "ed25519"
)

// Environment decides how the server may be named: in Development and Test the names of the own machine are added to
// those that were given; Staging and Production take only names that were given. The zero value means Development.
type Environment string

// The environments.
const (
	Development Environment = "development"
	Test        Environment = "test"
	Staging     Environment = "staging"
	Production  Environment = "production"
)

// Paths names the three files that one end of a connection needs.
type Paths struct {
	CA   string
	Cert string
	Key  string
}

// watched returns the files that one end watches for changes.
func (p Paths) watched() []string { return []string{p.CA, p.Cert, p.Key, crlPath(p.CA)} }

// ServerPaths are the guard's files in dir.
func ServerPaths(dir string) Paths {
	return Paths{
		CA:   filepath.Join(dir, CACertFile),
		Cert: filepath.Join(dir, ServerCertFile),
		Key:  filepath.Join(dir, ServerKeyFile),
	}
}

// ClientPaths are the engine client's files in dir. Docker's own names (cert.pem, key.pem) are used if both exist and
// client-cert.pem and client-key.pem are both absent; the two naming schemes are never mixed. Each non-empty field of
// override replaces the file found in dir.
func ClientPaths(dir string, override Paths) Paths {
	p := Paths{
		CA:   filepath.Join(dir, CACertFile),
		Cert: filepath.Join(dir, ClientCertFile),
		Key:  filepath.Join(dir, ClientKeyFile),
	}
	docker := Paths{Cert: filepath.Join(dir, DockerCertFile), Key: filepath.Join(dir, DockerKeyFile)}
	if !fileset.Exists(p.Cert) && !fileset.Exists(p.Key) && fileset.Exists(docker.Cert) && fileset.Exists(docker.Key) {
		p.Cert, p.Key = docker.Cert, docker.Key
	}
	return Paths{CA: cmp.Or(override.CA, p.CA), Cert: cmp.Or(override.Cert, p.Cert), Key: cmp.Or(override.Key, p.Key)}
}
