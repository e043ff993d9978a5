"""The AWS inside the clone: moto's server on the loopback interface, and what AWS does by itself around it.

manager        starts, stops and finds the server
server         puts the parts together and answers
recording      notes every API call
operations     names the operation behind an HTTP request
moto_patches   where moto differs from AWS
"""
