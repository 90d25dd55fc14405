package httpapi

import (
	"context"
	"net/http"
	"sync"
	"time"

	"berth/internal/session"
)

type healthOutput struct {
	Status int
	Body   Health
}

func (a *API) health(ctx context.Context, _ *struct{}) (*healthOutput, error) {
	out := &healthOutput{Status: http.StatusOK}
	if maySeeDetails(ctx) {
		out.Body = a.Health(ctx)
		out.Body.Version, out.Body.Containers = a.Version, a.containers()
	} else {
		out.Body.Status = a.healthCache.status(ctx, a.Now, a.Health)
	}
	if out.Body.Status == "unhealthy" {
		out.Status = http.StatusServiceUnavailable
	}
	return out, nil
}

// healthCacheAge is the greatest age of the public status.
const healthCacheAge = time.Second

// healthCache is the public status. It queries the store and the engine at most once a second, however many requests there are.
type healthCache struct {
	mu   sync.Mutex
	at   time.Time
	seen string
}

func (g *healthCache) status(ctx context.Context, now func() time.Time, look func(context.Context) Health) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t := now(); g.at.IsZero() || t.Sub(g.at) >= healthCacheAge {
		g.seen = look(context.WithoutCancel(ctx)).Status // others wait for it as well
		g.at = now()
	}
	return g.seen
}

// Health is Berth's health. Unauthenticated clients see Status only.
type Health struct {
	Status         string                 `json:"status" enum:"healthy,degraded,unhealthy"`
	Reasons        []string               `json:"reasons,omitempty" doc:"why the status is not healthy"`
	Version        string                 `json:"version,omitempty"`
	StorageBackend string                 `json:"storage_backend,omitempty" enum:"database,json"`
	Database       *DatabaseHealth        `json:"database,omitempty"`
	Instances      []Instance             `json:"instances,omitempty" doc:"the processes on the same database"`
	Runtime        *RuntimeHealth         `json:"runtime,omitempty"`
	Sessions       map[session.Status]int `json:"sessions,omitempty" doc:"sessions by status"`
	Authenticated  *int                   `json:"authenticated_sessions,omitempty" doc:"sessions whose token is valid now"`
	Containers     ContainerHealth        `json:"container_health,omitempty" doc:"see GET /health/container"`
	ResourceLimits *ResourceLimits        `json:"resource_limits,omitempty"`
	Resources      *SystemResources       `json:"system_resources,omitempty"`
	Disks          []Disk                 `json:"disks,omitempty" doc:"how full the disks are that Berth depends on"`
	Alerts         []ResourceAlert        `json:"resource_alerts,omitzero" doc:"what the host is short of; empty when all is well"`
	Pool           *Pool                  `json:"http_connection_pool,omitempty"`
	Workspaces     *Workspaces            `json:"workspaces,omitempty" doc:"absent before the first measurement"`
	Certificates   []Certificate          `json:"certificates,omitempty" doc:"the certificates of the connection to the engine, and those of Berth's own listener"`
	SecurityCheck  *SecurityCheck         `json:"security_audit,omitempty" doc:"the newest result of the checks of berth doctor"`
}

// Certificate is the validity of one certificate: of the connection to the engine, where the engine's is the one that it presents,
// or of Berth's own listener.
type Certificate struct {
	Certificate string    `json:"certificate" enum:"engine,client,ca,listener"`
	Subject     string    `json:"subject"`
	Serial      string    `json:"serial" doc:"hexadecimal"`
	ExpiresAt   time.Time `json:"expires_at"`
	DaysLeft    int       `json:"days_left" doc:"whole days; negative when it has expired"`
	Level       string    `json:"level" enum:"ok,warning,critical" doc:"warning from 30 days before the end, for the listener's from 21; critical from 7"`
}

// SecurityCheck is the newest result of the security check.
type SecurityCheck struct {
	Status    string              `json:"status" enum:"pass,warn,fail,skipped" doc:"the most severe status of the items"`
	CheckedAt time.Time           `json:"checked_at"`
	Items     []SecurityCheckItem `json:"items"`
}

// SecurityCheckItem is one item of the checklist.
type SecurityCheckItem struct {
	Item     int                    `json:"item" doc:"its number in the checklist"`
	Check    string                 `json:"check"`
	Status   string                 `json:"status" enum:"pass,warn,fail,skipped"`
	Findings []SecurityCheckFinding `json:"findings"`
}

// SecurityCheckFinding is a finding of a check.
type SecurityCheckFinding struct {
	Status string `json:"status" enum:"pass,warn,fail,skipped"`
	Code   string `json:"code"`
	Seen   string `json:"seen"`
	Remedy string `json:"remedy,omitempty"`
}

// DatabaseHealth is the health of the database, if it stores the sessions.
type DatabaseHealth struct {
	Status         string        `json:"status" enum:"healthy,degraded,unavailable" doc:"degraded: changes of other instances are polled, because the database does not notify of them"`
	Reason         string        `json:"reason,omitempty" doc:"why it is not healthy"`
	Since          *time.Time    `json:"since,omitempty" doc:"since when changes are journalled instead"`
	PendingChanges int           `json:"pending_changes" doc:"sessions whose changes are journalled until they are replayed to the database"`
	TotalSessions  int           `json:"total_sessions"`
	ActiveSessions int           `json:"active_sessions" doc:"creating or running"`
	DatabaseSize   string        `json:"database_size" example:"25 MB"`
	SchemaVersion  int64         `json:"schema_version"`
	Pool           *DatabasePool `json:"pool,omitempty"`
	Imports        []Import      `json:"imports,omitempty" doc:"files whose sessions were moved here"`
}

// DatabasePool counts this process's connections.
type DatabasePool struct {
	Total    int `json:"total"`
	Idle     int `json:"idle"`
	Acquired int `json:"acquired"`
	Max      int `json:"max"`
}

// Import is a file whose sessions were moved into the database.
type Import struct {
	Source string    `json:"source" doc:"digest of the file"`
	At     time.Time `json:"at"`
	Total  int       `json:"total"`
	Added  int       `json:"added"`
	Known  int       `json:"known" doc:"were there already"`
}

// Instance is a process that serves these sessions.
type Instance struct {
	ID        string    `json:"id"`
	Address   string    `json:"address" doc:"that it listens on"`
	Hostname  string    `json:"hostname"`
	Version   string    `json:"version"`
	StartedAt time.Time `json:"started_at"`
	SeenAt    time.Time `json:"seen_at" doc:"when it last renewed its lease"`
	Alive     bool      `json:"alive"`
	Self      bool      `json:"self" doc:"whether it is the one that answers"`
}

// RuntimeHealth is whether containers can be managed.
type RuntimeHealth struct {
	Kind   string `json:"kind" enum:"docker,process"`
	Status string `json:"status" enum:"healthy,unhealthy"`
	Detail string `json:"detail,omitempty" doc:"why it is unhealthy"`
}

// ResourceLimits are the limits of each session and of their number.
type ResourceLimits struct {
	MemoryLimit           session.Bytes `json:"memory_limit" example:"4g"`
	CPUQuota              int64         `json:"cpu_quota"`
	MaxConcurrentSessions int           `json:"max_concurrent_sessions"`
}

// SystemResources is the load of the host. Fractions are smoothed. While the status is unknown they are the last measured
// ones; before the first measurement there are none.
type SystemResources struct {
	Status      string     `json:"status" enum:"ok,warning,critical,unknown" doc:"no session is started while it is critical"`
	Host        string     `json:"host" enum:"engine,berth" doc:"which machine this is; berth: the sessions run on another one"`
	Memory      *float64   `json:"memory_percent,omitempty" doc:"fraction of memory in use, 0 to 1" example:"0.65"`
	CPU         *float64   `json:"cpu_percent,omitempty" doc:"fraction of CPU time in use, 0 to 1" example:"0.45"`
	MemoryStall *Stall     `json:"memory_stall,omitempty"`
	CPUStall    *Stall     `json:"cpu_stall,omitempty"`
	MeasuredAt  *time.Time `json:"measured_at,omitempty"`
}

// Stall is the kernel's own measure of pressure (PSI), where it has one.
type Stall struct {
	Some float64 `json:"some" doc:"fraction of the last 10 s in which some task waited for the resource"`
	Full float64 `json:"full" doc:"fraction of the last 10 s in which all tasks did"`
}

// Disk is the use of a disk. While the status is unknown its values are the last measured ones.
type Disk struct {
	Disk       string     `json:"disk" enum:"engine,state" doc:"engine: images, containers and workspaces; state: Berth's own records"`
	Path       string     `json:"path,omitempty" doc:"a directory on it; absent: it is on another machine or cannot be seen from here"`
	Status     string     `json:"status" enum:"ok,warning,critical,unknown"`
	Used       *float64   `json:"used,omitempty" doc:"fraction of bytes or inodes in use, whichever is more" example:"0.65"`
	Free       *uint64    `json:"free_bytes,omitempty" doc:"bytes that are left"`
	MeasuredAt *time.Time `json:"measured_at,omitempty"`
}

// ResourceAlert is an alert about a resource of the host.
type ResourceAlert struct {
	Resource  string    `json:"resource" enum:"memory,cpu,engine_disk,state_disk"`
	Level     string    `json:"level" enum:"warning,critical"`
	Value     float64   `json:"value" doc:"fraction in use" example:"0.96"`
	Threshold float64   `json:"threshold" doc:"fraction that has been reached" example:"0.95"`
	Since     time.Time `json:"since"`
	Message   string    `json:"message" example:"host memory at 96 %, critical from 95 %"`
}

// Pool is the proxy's pool of upstream connections.
type Pool struct {
	Status      string     `json:"status" enum:"healthy,saturated" doc:"saturated: requests wait because their session has max_connections already"`
	Config      PoolConfig `json:"config"`
	Connections int64      `json:"connections" doc:"open, idle ones included"`
	Requests    int        `json:"requests" doc:"being served, without streams"`
	Waiting     int64      `json:"waiting"`
	Streams     int        `json:"streams" doc:"event streams and WebSockets"`
}

// PoolConfig are the pool's settings.
type PoolConfig struct {
	MaxKeepaliveConnections int     `json:"max_keepalive_connections"`
	MaxConnections          int     `json:"max_connections"`
	KeepaliveExpiry         float64 `json:"keepalive_expiry" doc:"seconds"`
	ConnectTimeout          float64 `json:"connect_timeout" doc:"seconds"`
	ReadTimeout             float64 `json:"read_timeout" doc:"seconds"`
}

// Workspaces is the disk use of the volumes of all sessions, as far as it could be measured.
type Workspaces struct {
	Measured   int       `json:"measured" doc:"sessions that could be measured; 0 where Berth cannot read the engine's volumes"`
	Bytes      int64     `json:"bytes"`
	Largest    int64     `json:"largest_bytes"`
	Warned     int       `json:"warned" doc:"sessions at BERTH_WORKSPACE_WARN or above"`
	Over       int       `json:"over" doc:"sessions at BERTH_WORKSPACE_LIMIT or above"`
	MeasuredAt time.Time `json:"measured_at"`
}
