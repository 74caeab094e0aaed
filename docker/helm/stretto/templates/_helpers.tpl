{{- define "stretto.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 43 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 43 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 43 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "stretto.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "stretto.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{/* image: a dict of root and image */}}
{{- define "stretto.image" -}}
{{- $image := .image -}}
{{- with $image.registry }}{{ . }}/{{ end }}{{ $image.repository }}:{{ $image.tag | default .root.Chart.AppVersion }}
{{- end -}}

{{/* Labels that never change: for selectors. A dict of root and component, or only root. */}}
{{- define "stretto.selectorLabels" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{- define "stretto.labels" -}}
{{ include "stretto.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: stretto
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "stretto.tokenSecret" -}}
{{- .Values.internal.tokenSecret | default (printf "%s-internal" (include "stretto.fullname" .)) -}}
{{- end -}}

{{/*
The settings file of all roles. What no value says is not in it: the program's defaults hold.
*/}}
{{- define "stretto.settings" -}}
{{- $off := "" -}}
{{- $otlp := dict "protocols" (dict
  "grpc" (dict "endpoint" (ternary "0.0.0.0:4317" $off .Values.traces.otlp.grpc.enabled))
  "http" (dict "endpoint" (ternary "0.0.0.0:4318" $off .Values.traces.otlp.http.enabled))) -}}
{{- $jaeger := dict
  "protocols" (dict
    "grpc" (dict "endpoint" (ternary "0.0.0.0:14250" $off .Values.traces.jaeger.grpc.enabled))
    "thrift_http" (dict "endpoint" (ternary "0.0.0.0:14268" $off .Values.traces.jaeger.thriftHttp.enabled))
    "thrift_compact" (dict "endpoint" (ternary "0.0.0.0:6831" $off .Values.traces.jaeger.thriftCompact.enabled))
    "thrift_binary" (dict "endpoint" (ternary "0.0.0.0:6832" $off .Values.traces.jaeger.thriftBinary.enabled)))
  "remote_sampling" (dict "endpoint" (ternary "0.0.0.0:5778" $off .Values.traces.jaeger.remoteSampling.enabled)) -}}
{{- $receivers := dict
  "otlp" $otlp
  "jaeger" $jaeger
  "zipkin" (dict "endpoint" (ternary "0.0.0.0:9411" $off .Values.traces.zipkin.enabled)) -}}
{{- $server := dict "http_listen_port" 3200 "grpc_listen_address" "0.0.0.0" "grpc_listen_port" 9095 -}}
{{- $internal := "/etc/stretto/internal" -}}
{{- if .Values.internal.tlsSecret -}}
{{- $tls := dict
  "cert_file" (printf "%s/tls.crt" $internal)
  "key_file" (printf "%s/tls.key" $internal)
  "client_ca_file" (printf "%s/ca.crt" $internal) -}}
{{- $_ := set $server "internal_tls_config" $tls -}}
{{- $_ := set $server "internal_tls_server_name" .Values.internal.tlsServerName -}}
{{- else -}}
{{- $_ := set $server "internal_token_file" (printf "%s/token" $internal) -}}
{{- end -}}
{{/* shutdown_delay: Kubernetes takes a moment to send nothing to a pod that ends. */}}
{{- $settings := dict
  "multitenancy_enabled" .Values.multitenancyEnabled
  "shutdown_delay" "5s"
  "server" $server
  "kafka" (mergeOverwrite (dict "address" .Values.kafka.address) (deepCopy .Values.kafka.config))
  "distributor" (dict "receivers" $receivers)
  "storage" (dict "trace" .Values.storage.trace)
  "compactor" .Values.compactor.config
  "overrides" (dict
    "defaults" .Values.overrides.defaults
    "per_tenant_override_config" "/etc/stretto/overrides/overrides.yaml") -}}
{{- if .Values.metricsGenerator.enabled -}}
{{- if not (dig "storage" "remote_write" list .Values.metricsGenerator.config) -}}
{{- fail "metricsGenerator.config.storage.remote_write must name at least one target, as [{url: http://prometheus:9090/api/v1/write}]" -}}
{{- end -}}
{{- $_ := set $settings "metrics_generator" .Values.metricsGenerator.config -}}
{{- end -}}
{{- if eq (dig "backend" "local" .Values.storage.trace) "local" -}}
{{- fail "storage.trace.backend must be s3, gcs or azure: pods cannot share a folder" -}}
{{- end -}}
{{- toYaml (mergeOverwrite $settings (deepCopy .Values.config)) -}}
{{- end -}}

{{/* The pod of a role: a dict of root, component (its target), values, and zone. */}}
{{- define "stretto.pod" -}}
{{- $root := .root -}}
{{- $values := .values -}}
metadata:
  labels:
    {{- include "stretto.labels" . | nindent 4 }}
    {{- with .zone }}
    stretto/zone: {{ . | quote }}
    {{- end }}
    {{- with $root.Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # The overrides are not in it: they are read again while the process runs.
    checksum/settings: {{ include "stretto.settings" $root | sha256sum }}
    {{- with $root.Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "stretto.serviceAccount" $root }}
  automountServiceAccountToken: {{ $root.Values.serviceAccount.automountServiceAccountToken }}
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
  {{- with $root.Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- toYaml $root.Values.podSecurityContext | nindent 4 }}
  containers:
    - name: stretto
      image: {{ include "stretto.image" (dict "root" $root "image" $root.Values.image) }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      env:
        - name: TARGET
          value: {{ .component }}
        - name: STRETTO_CONFIG
          value: /etc/stretto/settings/stretto.yaml
        - name: STRETTO_DATA_DIR
          value: /var/lib/stretto
        - name: STRETTO_MEMBERS__ADVERTISE_ADDRESS
          valueFrom:
            fieldRef:
              fieldPath: status.podIP
        {{- with .zone }}
        - name: ZONE
          value: {{ . | quote }}
        {{- end }}
        {{- with $root.Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- with $values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $root.Values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        {{- include "stretto.ports" (dict "root" $root "component" .component "key" "containerPort") | nindent 8 }}
      # That it has come to listen. What it waits for afterwards, as a backlog in Kafka or a storage that is away, may take
      # longer than any probe.
      startupProbe:
        httpGet: {path: /api/echo, port: http}
        periodSeconds: 5
        failureThreshold: 60
      readinessProbe:
        httpGet: {path: /ready, port: http}
        periodSeconds: 5
        failureThreshold: 2
      # That the process answers at all: what it waits for is the business of readiness.
      livenessProbe:
        httpGet: {path: /api/echo, port: http}
        periodSeconds: 15
        timeoutSeconds: 5
        failureThreshold: 6
      securityContext:
        {{- toYaml $root.Values.containerSecurityContext | nindent 8 }}
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      volumeMounts:
        - {name: data, mountPath: /var/lib/stretto}
        - {name: tmp, mountPath: /tmp}
        - {name: settings, mountPath: /etc/stretto/settings, readOnly: true}
        - {name: overrides, mountPath: /etc/stretto/overrides, readOnly: true}
        - {name: internal, mountPath: /etc/stretto/internal, readOnly: true}
        {{- with $root.Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    {{- if not .persistent }}
    - name: data
      emptyDir: {}
    {{- end }}
    - name: tmp
      emptyDir: {}
    - name: settings
      configMap:
        name: {{ include "stretto.fullname" $root }}
    - name: overrides
      configMap:
        name: {{ include "stretto.fullname" $root }}-overrides
    - name: internal
      secret:
        secretName: {{ $root.Values.internal.tlsSecret | default (include "stretto.tokenSecret" $root) }}
        defaultMode: 0440
    {{- with $root.Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- $selector := deepCopy $values.nodeSelector }}
  {{- with .zoneName }}
  {{- $selector = set $selector "topology.kubernetes.io/zone" . }}
  {{- end }}
  {{- with $selector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  affinity:
    {{- if $values.affinity }}
    {{- toYaml $values.affinity | nindent 4 }}
    {{- else }}
    podAntiAffinity:
      {{- if .zone }}
      requiredDuringSchedulingIgnoredDuringExecution:
        # Two copies of a partition are never on one machine.
        - topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "stretto.selectorLabels" (dict "root" $root "component" .component) | nindent 14 }}
            matchExpressions:
              - {key: stretto/zone, operator: NotIn, values: [{{ .zone | quote }}]}
              - {key: stretto/zone, operator: Exists}
      {{- end }}
      preferredDuringSchedulingIgnoredDuringExecution:
        - weight: 100
          podAffinityTerm:
            topologyKey: kubernetes.io/hostname
            labelSelector:
              matchLabels:
                {{- include "stretto.selectorLabels" (dict "root" $root "component" .component) | nindent 16 }}
    {{- end }}
  {{- with $values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* Ports of a role: a dict of root, component, and key (containerPort, or port for services). */}}
{{- define "stretto.ports" -}}
{{- $key := .key -}}
{{- $traces := .root.Values.traces -}}
- {name: http, {{ $key }}: 3200{{ if eq $key "port" }}, targetPort: http{{ end }}}
- {name: grpc-internal, {{ $key }}: 9095{{ if eq $key "port" }}, targetPort: grpc-internal{{ end }}}
{{- if eq .component "distributor" }}
{{- $all := list
  (list "otlp-grpc" 4317 "TCP" $traces.otlp.grpc.enabled)
  (list "otlp-http" 4318 "TCP" $traces.otlp.http.enabled)
  (list "jaeger-grpc" 14250 "TCP" $traces.jaeger.grpc.enabled)
  (list "jaeger-http" 14268 "TCP" $traces.jaeger.thriftHttp.enabled)
  (list "jaeger-compact" 6831 "UDP" $traces.jaeger.thriftCompact.enabled)
  (list "jaeger-binary" 6832 "UDP" $traces.jaeger.thriftBinary.enabled)
  (list "jaeger-sample" 5778 "TCP" $traces.jaeger.remoteSampling.enabled)
  (list "zipkin" 9411 "TCP" $traces.zipkin.enabled) }}
{{- range $all }}
{{- if index . 3 }}
- {name: {{ index . 0 }}, {{ $key }}: {{ index . 1 }}, protocol: {{ index . 2 }}{{ if eq $key "port" }}, targetPort: {{ index . 0 }}{{ end }}}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
