#!/bin/sh
# What is checked on another kernel, inside the virtual machine.
gala doctor
echo done
