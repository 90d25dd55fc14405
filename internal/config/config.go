// Package config defines every setting of Berth: its variable, its key in the configuration file, its default, and the
// allowed values. It does not know what the settings do, creates no files and prints nothing.
package config

import (
	"maps"
	"time"

	"berth/internal/session"
)

//go:generate go run ./gen ../../docs/configuration.md ../../docker/.env.example

// Values of Session.Runtime.
const (
	RuntimeDocker  = "docker"
	RuntimeProcess = "process"
)

// Production is the value of Docker.Env for which weak settings are faults.
const Production = "production"

// Values of Session.Route, in addition to [Auto].
const (
	RoutePublished = "published"
	RouteNetwork   = "network"
)

// Auto is the value for an automatic choice, where a setting allows it.
const Auto = "auto"

// Config is all settings. The zero value is not usable; start with [Default] or [Load].
type Config struct {
	Server   Server   `yaml:"server"`
	Database Database `yaml:"database"`
	Docker   Docker   `yaml:"docker"`
	Session  Session  `yaml:"session"`
	Gateway  Gateway  `yaml:"gateway"`
	Health   Health   `yaml:"health"`
	Webhook  Webhook  `yaml:"webhook"`
	Limits   Limits   `yaml:"limits"`
	Token    Token    `yaml:"token"`
	OIDC     OIDC     `yaml:"oidc"`
	Proxy    Proxy    `yaml:"proxy"`
	HTTPPool HTTPPool `yaml:"http_pool"`
	Log      Log      `yaml:"log"`
	Models   Models   `yaml:"models"`
	Budgets  Budgets  `yaml:"budgets"`
	Egress   Egress   `yaml:"egress"`

	// Git are the git hosts that sessions reach through the gateway, and the credentials for them.
	Git []GitHost `yaml:"git,omitempty"`

	// Profiles are the image profiles by name: the built-in ones and those of the configuration file.
	Profiles map[string]session.Profile `yaml:"profiles"`

	// Unknown is one warning for each environment variable that looks like a setting and is none.
	Unknown []string `yaml:"-"`
}

// Default returns the default configuration. Paths and addresses that depend on other settings or on the user are empty in
// it; [Load] fills them in.
func Default() Config {
	return Config{
		Server: Server{
			Listen:       "127.0.0.1:8080",
			DrainTimeout: Seconds(30 * time.Second),
		},
		Database: Database{
			Host:                "localhost",
			Port:                5432,
			User:                "lovdata",
			Name:                "lovdata_chat",
			SSLMode:             "prefer",
			MinConnections:      5,
			MaxConnections:      20,
			MaxQueries:          50_000,
			MaxInactiveLifetime: Seconds(300 * time.Second),
			Fallback:            true,
		},
		Docker: Docker{
			HostIP:           "host.docker.internal",
			TLSPort:          2376,
			TLSVerify:        true,
			CertPath:         "./docker/certs",
			Env:              "development",
			Async:            true,
			OperationTimeout: Seconds(time.Minute),
			Network:          "berth",
		},
		Session: Session{
			Runtime:           RuntimeDocker,
			Profile:           "opencode",
			PublishIP:         Auto,
			Route:             Auto,
			Subnet:            Auto,
			OpenSubnet:        Auto,
			StartTimeout:      Seconds(2 * time.Minute),
			CloneTimeout:      Seconds(10 * time.Minute),
			StopTimeout:       Seconds(10 * time.Second),
			ReconcileInterval: Seconds(30 * time.Second),
			OrphanGrace:       Seconds(5 * time.Minute),
			MaxBusyHours:      12,
			SignInHours:       7 * 24,
			DeviceDays:        30,
			WakeTimeout:       Seconds(30 * time.Second),
		},
		Gateway: Gateway{Enabled: true, Port: 8081},
		Health: Health{
			CheckInterval:    Seconds(30 * time.Second),
			Timeout:          Seconds(10 * time.Second),
			MaxRestarts:      3,
			RestartDelay:     Seconds(5 * time.Second),
			FailureThreshold: 3,
		},
		Limits: Limits{
			Memory:      4 << 30,
			CPUQuota:    100_000,
			CPUPeriod:   100_000,
			PIDs:        512,
			MaxSessions: 3,

			WorkspaceWarning: 10 << 30,

			MemoryWarning: 0.8,
			CPUWarning:    0.9,
			Critical:      0.95,
		},
		Token: Token{Length: 32, ExpiryHours: 24, CleanupIntervalMinutes: 60, Secret: Auto},
		OIDC:  OIDC{OwnerClaim: "sub"},
		Proxy: Proxy{MaxBodySize: 16 << 20},
		HTTPPool: HTTPPool{
			MaxKeepaliveConnections: 20,
			MaxConnections:          100,
			KeepaliveExpiry:         Seconds(300 * time.Second),
			ConnectTimeout:          Seconds(10 * time.Second),
			ReadTimeout:             Seconds(30 * time.Second),
		},
		Log: Log{
			Level:       LevelInfo,
			Format:      Auto,
			Console:     true,
			File:        "/var/log/lovdata-chat.log",
			MaxSizeMB:   10,
			BackupCount: 5,
		},
		Budgets:  Budgets{Currency: "USD"},
		Egress:   Egress{MaxConnections: 2048, MaxPerSession: 256, IdleTimeout: Seconds(6 * time.Hour)},
		Profiles: maps.Clone(builtinProfiles()),
	}
}

// ActiveProfile is the profile of new sessions, with PROCESS_COMMAND in place of its program. It is the zero Profile
// when there is none of that name, which [Config.Validate] reports.
func (c Config) ActiveProfile() session.Profile {
	p := c.Profiles[c.Session.Profile]
	if c.Session.ProcessCommand != "" && len(p.Command) > 0 {
		p.Command = append([]string{c.Session.ProcessCommand}, p.Command[1:]...)
	}
	return p
}
