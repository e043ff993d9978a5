"""The AWS inside the clone: moto's server on the loopback interface, and what AWS does by itself around it.

manager        starts, stops and finds the server
server         puts the parts together and answers
recording      every API call passes here, is noted, and goes to whoever answers it
operations     names the operation behind an HTTP request
interruptions  keeps calls waiting, for tests and benchmarks
permissions    refuses what a role's policies do not allow
  needs          what each request needs
  resources      the resources that a request names
  parameters     what a request says, whatever its protocol
  policies       evaluates policies
operator_role  a role with the permissions of docs/permissions.md
functions      answers Invoke, and queues what need not be waited for
  executions     one run of a function
  lambda_runtime the process of one invocation
event_sources  hands a queue's messages to the function that reads it
commands       sends SSM commands to hosts, and follows them
  documents      the steps of a document
  invocations    the states of a command
hosts          instances as Linux hosts
  service        puts the parts together
  requirements   what a machine needs for it
  enclosure      the namespaces that all of it lives in
    keeper         their process 1, and what cleans up after it
  image          the base image
  containers     podman
  host           one host, and the thread that works for it
  instances      states and status checks
  moto_instances where moto is patched for it
  databases      RDS's PostgreSQL servers
    moto_databases where moto is patched for them
    authority      signs their certificates
  metadata       the instance metadata service
  names          the resolver, with private zones
  firewall       security groups
  way_in         ssh into the hosts
    connect        its ProxyCommand
  forward        a port of this machine that leads to a host's
  files          what is in a host: its first process, its agent
schedules      fires EventBridge's schedules
clock          the time that all of these see
acting         calls that a service makes for a role
control        what a person or a test may ask of it
account        looks into moto's tables
moto_patches   where moto differs from AWS
"""
