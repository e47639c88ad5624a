"""The tables of scores, one file each: the rows, and the page that shows them."""
