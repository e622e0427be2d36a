"""The benchmark harness: rows, contestants, fresh processes, figures and tables. `compare.py` is its command.

contestants  who runs, how its loop is made          rows         what a row is; finds those of workloads/
loop_rows    rows measured inside one process        server_rows  rows with a server and a load process
worker       the fresh process of one measurement    children     starting processes with a deadline
echo_client  builds the load program                 usage        readings of CPU time and clock
figures      medians, spreads, ratios                results      one run, also as JSON
tables       one run as text                         targets      what must be reached
machine      what it was measured on
"""
