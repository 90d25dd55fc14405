package config

import (
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// readPassword reads the database's password from its file, if a database is used.
func (d *Database) readPassword() []Fault {
	if !d.Use {
		return nil
	}
	return readSecret(&d.Password, "DB_PASSWORD", d.PasswordFile)
}

func (v *checker) database(c Config) {
	d := c.Database
	between(v, "DB_PORT", d.Port, 1, 65535)
	oneOf(v, "DB_SSLMODE", d.SSLMode, "disable", "allow", "prefer", "require", "verify-ca", "verify-full")
	between(v, "DB_MAX_CONNECTIONS", d.MaxConnections, 2, 10_000)
	v.that(d.MinConnections >= 0 && d.MinConnections <= d.MaxConnections, "DB_MIN_CONNECTIONS", d.MinConnections,
		"must be between 0 and DB_MAX_CONNECTIONS=%d", d.MaxConnections)
	between(v, "DB_MAX_QUERIES", d.MaxQueries, 1, 1_000_000_000)
	between(v, "DB_MAX_INACTIVE_LIFETIME", d.MaxInactiveLifetime, Seconds(time.Second), Seconds(24*time.Hour))
	if !d.Use {
		return // the other settings are not used
	}
	v.that(c.Session.Runtime != RuntimeProcess, "USE_DATABASE_STORAGE", d.Use,
		"contradicts BERTH_RUNTIME=%s: its sessions are known to one machine only", RuntimeProcess)
	if url := d.URL.Reveal(); url != "" {
		v.that(validDatabaseURL(url), "DATABASE_URL", d.URL, "must be like postgres://user@host:5432/name?sslmode=verify-full")
	} else {
		v.that(d.Host != "", "DB_HOST", d.Host, "must be a host name, an address or a directory")
		v.that(d.User != "", "DB_USER", d.User, "must be the name of a user")
		v.that(d.Name != "", "DB_NAME", d.Name, "must be the name of a database")
		v.that((d.SSLCert == "") == (d.SSLKey == ""), "DB_SSLCERT", d.SSLCert, "and DB_SSLKEY must be set both or not at all")
	}
}

func validDatabaseURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "postgres" || u.Scheme == "postgresql")
}

// unverified reports whether the database is on another host and its certificate is not verified.
func (d Database) unverified() bool {
	host, mode := d.Host, d.SSLMode
	if u, err := url.Parse(d.URL.Reveal()); d.URL != "" && err == nil {
		host, mode = u.Hostname(), u.Query().Get("sslmode")
		if socket := u.Query().Get("host"); socket != "" {
			host = socket
		}
	}
	if host == "" || host == "localhost" || strings.HasPrefix(host, "/") || strings.HasPrefix(mode, "verify-") {
		return false
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err != nil || !ip.IsLoopback()
}
