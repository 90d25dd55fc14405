package doctor

// Checks is the security audit checklist, in its order: a check's number is its place, from 1, and stays. New ones go to
// the end.
func Checks() []Check {
	return []Check{
		{Name: "certificate-strength", Title: "TLS certificates generated with strong encryption", EngineOnly: true, Run: certificateStrength},
		{
			Name: "certificate-permissions", Title: "Certificate permissions set correctly (400/444)", EngineOnly: true,
			Run: certificatePermissions, Fix: fixPermissions,
		},
		{Name: "socket-mounts", Title: "No socket mounting in compose files and containers", Run: socketMounts},
		{Name: "environment", Title: "Environment variables properly configured", Run: environment},
		{Name: "tls-connection", Title: "TLS connection tested successfully", EngineOnly: true, Run: tlsConnection},
		{Name: "host-ip", Title: "Host IP detection working correctly", EngineOnly: true, Run: hostIP},
		{Name: "proxy-routing", Title: "Proxy routing functional", Run: proxyRouting},
		{Name: "resource-limits", Title: "Resource limits properly configured and enforced", Run: resourceLimits},
		{Name: "session-throttling", Title: "Session throttling prevents resource exhaustion", Run: sessionThrottling},
		{Name: "resource-monitoring", Title: "System resource monitoring active", Run: resourceMonitoring},
		{Name: "certificate-rotation", Title: "Certificate rotation on time", EngineOnly: true, Run: certificateRotation},
		{Name: "firewall", Title: "Firewall rules restrict Docker API access", Run: firewall},
		{Name: "daemon-options", Title: "Docker daemon configured with security options", Run: daemonOptions},
		{Name: "api-logging", Title: "Monitoring and logging enabled for API access", Run: apiLogging},
		{Name: "identity-provider", Title: "Identity provider answers", Run: identityProvider},
		{Name: "listener-certificate", Title: "Certificates of Berth's own listener valid", Run: listenerCertificate},
		{Name: "session-origins", Title: "Sessions on a site of their own", Run: sessionOrigins},
		{Name: "session-networks", Title: "Sessions' networks closed, and the gateway reachable", EngineOnly: true, Run: sessionNetworks},
	}
}
